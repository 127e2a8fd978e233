// The page's dialogs: a question with an answer (a key, a name, a deletion) and the settings of a conversation.

import { $, el } from "./dom.js";
import { optionsFrom } from "./store.js";

// The limits are those within which a value means something; a field left empty is the model's own choice.
const FIELDS = [
  { name: "temperature", label: "Temperature", help: "0 always takes the likeliest token; higher is more varied.", min: 0, max: 5, step: "any" },
  { name: "top_p", label: "Top p", help: "Only the likeliest tokens that together have this share.", min: 0, max: 1, step: "any" },
  { name: "top_k", label: "Top k", help: "Only this many of the likeliest tokens; 0 is all.", min: 0, max: 1000000, step: 1 },
  { name: "min_p", label: "Min p", help: "Only tokens at least this likely, measured by the likeliest.", min: 0, max: 1, step: "any" },
  { name: "repeat_penalty", label: "Repeat penalty", help: "Above 1, tokens that were there lately become less likely.", min: 0.1, max: 10, step: "any" },
  { name: "seed", label: "Seed", help: "The same seed gives the same answer again.", min: 0, max: Number.MAX_SAFE_INTEGER, step: 1 },
  { name: "num_predict", label: "Longest answer", help: "In tokens; -1 is no limit.", min: -1, max: 10000000, step: 1 },
];

// Asks and resolves to what was typed, to "" when nothing was to be typed, or to null when the reader said no.
export function ask({ title, text, name = "", value = "", yes, secret = "", danger = "" }) {
  const dialog = $("ask");
  $("ask-title").textContent = title;
  $("ask-text").textContent = text;
  $("ask-text").hidden = !text;
  $("ask-label").hidden = !name;
  $("ask-name").textContent = name;
  $("ask-yes").textContent = yes;
  $("ask-yes").classList.toggle("danger", Boolean(danger));
  const input = $("ask-input");
  input.type = secret ? "password" : "text";
  input.value = value;
  return open(dialog, () => {
    if (name) input.select();
    else $("ask-yes").focus();
  }, () => (name ? input.value.trim() : ""));
}

// Lets the reader change settings; resolves to `{ system, options }`, or to null.
export function editSettings({ system, options }) {
  const fields = $("settings-fields");
  const prompt = el("textarea", { id: "setting-system", rows: "3" });
  prompt.value = system;
  const stop = el("textarea", { id: "setting-stop", rows: "2", spellcheck: "false", "aria-describedby": "setting-stop-help" });
  stop.value = (options.stop ?? []).join("\n");
  const numbers = FIELDS.map((field) => numberField(field, options[field.name]));
  fields.replaceChildren(
    labelled("setting-system", "System prompt", prompt, "What the model is told before everything else."),
    el("div", { class: "pairs" }, ...numbers),
    labelled("setting-stop", "Stop texts", stop, "One a line; the answer ends before any of them."),
  );
  $("reset-settings").onclick = () => {
    for (const input of fields.querySelectorAll("input")) input.value = "";
    stop.value = "";
  };
  return open($("settings"), () => prompt.focus(), () => {
    const chosen = { stop: stop.value.split("\n") };
    for (const { name } of FIELDS) chosen[name] = $(`setting-${name}`).valueAsNumber;
    return { system: prompt.value, options: optionsFrom(chosen) };
  });
}

// Shows the dialog and resolves to `result()` when it is agreed to. Enter agrees, Esc and Cancel do not.
function open(dialog, focus, result) {
  const form = dialog.querySelector("form");
  return new Promise((resolve) => {
    let answer = null;
    form.onsubmit = (event) => {
      event.preventDefault();
      answer = result();
      dialog.close();
    };
    for (const button of dialog.querySelectorAll("[data-close]")) button.onclick = () => dialog.close();
    dialog.onclose = () => resolve(answer);
    if (!dialog.open) dialog.showModal();
    focus();
  });
}

function numberField({ name, label, help, min, max, step }, value) {
  const id = `setting-${name}`;
  const input = el("input", { id, type: "number", min, max, step, placeholder: "default", inputmode: "decimal", "aria-describedby": `${id}-help` });
  input.value = value ?? "";
  return labelled(id, label, input, help);
}

function labelled(id, label, control, help) {
  control.setAttribute("aria-describedby", `${id}-help`);
  return el("div", { class: "field" }, el("label", { for: id }, label), control, el("p", { id: `${id}-help`, class: "help" }, help));
}
