// The page: joins the conversations, the messages, the connection and the engine's view, and listens to the reader.
//
// Which conversation is open stands in the address after `#`, so that a reload and the browser's back button find it.

import { setKey } from "./api.js";
import { Answers } from "./answers.js";
import { Connection } from "./connection.js";
import { ask, editSettings } from "./dialogs.js";
import { $, announce, el, setText } from "./dom.js";
import { exportJson, exportMarkdown } from "./export.js";
import { ago } from "./format.js";
import { describe, layerMap, Live, sums } from "./live.js";
import { Messages } from "./messages.js";
import { Store } from "./store.js";

// Below this the list of conversations and the engine's view lie over the messages; style.css has the same number.
const NARROW = matchMedia("(max-width: 900px)");
const TOUCH = matchMedia("(hover: none) and (pointer: coarse)");
const DRAFT = "ssd-llm.draft.";
const THEME = "ssd-llm.theme";
const LIVE = "ssd-llm.live";

const store = new Store();
const answers = new Answers(store);
const connection = new Connection();
const live = new Live(connection);
const messages = new Messages({ retry, edit, empty });
const prompt = $("prompt");

let current = store.create();
let editing = false;

// Conversations.

function show(conversation) {
  current = conversation;
  editing = false;
  messages.show(current, answers.running(current.id), store.isClaimedElsewhere(current.id));
  prompt.value = draft();
  drawComposer();
  drawTitle();
  drawModels();
  drawList();
}

// What the address names; anything unknown is a new conversation.
function showAddressed() {
  const conversation = store.get(location.hash.slice(1)) ?? store.create();
  if (conversation.id !== current.id) show(conversation);
}

function newChat() {
  setSidebar(false);
  history.pushState(null, "", location.pathname + location.search);
  show(store.create());
  prompt.focus();
}

function isStored(conversation) {
  return store.get(conversation.id) !== undefined;
}

function drawTitle() {
  setText($("title"), current.title);
  document.title = isStored(current) ? `${current.title} – ssd-llm` : "ssd-llm";
  for (const id of ["rename", "export-markdown", "export-json", "delete"]) $(id).disabled = !isStored(current);
}

function drawList() {
  const items = store.list().map((conversation) => {
    const { id, title, updated } = conversation;
    const writing = Boolean(answers.running(id));
    const name = el("span", { class: "name" }, title);
    const when = el("span", { class: "when" }, writing ? "writing" : ago(updated));
    const link = el("a", { href: `#${id}`, "aria-current": id === current.id ? "page" : null, on: { click: () => setSidebar(false) } }, name, when);
    return el("li", {}, link);
  });
  if (!items.length) items.push(el("li", { class: "none" }, "Conversations are kept in this browser only."));
  // The list is made anew, so a link that has the focus hands it to the one that takes its place.
  const focused = $("conversations").contains(document.activeElement) && document.activeElement.getAttribute("href");
  $("conversations").replaceChildren(...items);
  if (focused) [...$("conversations").querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus();
}

// What a conversation without messages shows: which model answers, and what of it is where.
function empty() {
  const node = el("div", { class: "empty" });
  drawEmpty(node);
  return node;
}

function drawEmpty(node) {
  const { stats } = connection;
  const name = stats?.model?.name ?? connection.pick(current);
  const { pinned, streamed } = sums(stats?.layers ?? []);
  const told = !stats?.layers?.length ? null : streamed === 0
    ? "All of its weights stay in memory."
    : `${share(pinned, pinned + streamed)} of its weights stay in memory. The rest is streamed from the SSD for every pass.`;
  node.replaceChildren(
    ...(stats?.layers?.length ? [layerMap(stats.layers)] : []),
    el("h2", {}, name ?? "Waiting for the server"),
    ...(stats?.model ? [el("p", {}, describe({ ...stats.model, name: null }))] : []),
    ...(told ? [el("p", {}, told)] : []),
  );
}

const share = (part, whole) => `${Math.round((100 * part) / whole)}%`;

// Asking and answering.

function send() {
  const text = prompt.value.trim();
  if (!text || answers.running(current.id)) return;
  if (store.isClaimedElsewhere(current.id)) {
    announce("Another tab is writing an answer in this conversation.");
    return;
  }
  if (editing) current.messages.splice(current.messages.findLastIndex(({ role }) => role === "user"));
  editing = false;
  current.messages.push({ role: "user", content: text, at: Date.now() });
  prompt.value = "";
  keepDraft();
  start();
}

function retry() {
  const last = current.messages.at(-1);
  const before = last?.role === "assistant" ? current.messages.pop() : null;
  start(before?.content ? before : null);
  // The button that was pressed is gone.
  prompt.focus();
}

function start(before = null) {
  const conversation = current;
  const answer = answers.start(conversation, () => connection.modelFor(conversation), before);
  history.replaceState(null, "", `#${conversation.id}`);
  messages.show(conversation, answer);
  drawComposer();
  drawTitle();
  drawList();
  answer.finished.then(() => {
    if (answer.error) {
      connection.report(answer.error);
      if (answer.error.kind === "key") askForKey().then((given) => given && current === conversation && retry());
    }
  });
}

function edit() {
  const last = current.messages.findLast(({ role }) => role === "user");
  if (!last) return;
  editing = true;
  prompt.value = last.content;
  drawComposer();
  prompt.focus();
}

function stopEditing() {
  editing = false;
  prompt.value = draft();
  drawComposer();
  prompt.focus();
}

function drawComposer() {
  const writing = Boolean(answers.running(current.id));
  const hadFocus = [$("send"), $("stop")].includes(document.activeElement);
  $("send").hidden = writing;
  $("stop").hidden = !writing;
  if (hadFocus) prompt.focus();
  $("send").setAttribute("aria-disabled", String(!prompt.value.trim()));
  $("editing").hidden = !editing;
  // The box is as high as its text, up to the limit in the style sheet.
  prompt.style.height = "auto";
  prompt.style.height = `${prompt.scrollHeight}px`;
}

answers.addEventListener("grow", ({ detail: id }) => id === current.id && messages.grow());
answers.addEventListener("end", ({ detail: id }) => {
  if (id === current.id) {
    messages.end(current);
    drawComposer();
    drawTitle();
  }
  drawList();
});

// Another tab wrote or removed a conversation.
store.addEventListener("change", ({ detail: id }) => {
  drawList();
  if (id !== current.id) {
    if (!store.get(id)) answers.drop(id);
    return;
  }
  const stored = store.get(id);
  if (!stored) {
    answers.drop(id);
    history.replaceState(null, "", location.pathname + location.search);
    show(store.create());
    notice("gone", "This conversation was deleted in another tab.");
  } else if (!answers.running(id)) {
    show(stored);
  }
});

const sessionStorageOf = () => sessionStorage;
const localStorageOf = () => localStorage;

// A stored text, or null where there is none or the browser stores nothing.
function memory(storage, key) {
  try {
    return storage().getItem(key);
  } catch {
    return null;
  }
}

function remember(storage, key, value) {
  try {
    if (value) storage().setItem(key, value);
    else storage().removeItem(key);
  } catch {
    // It is a convenience only.
  }
}

const draftName = () => (isStored(current) ? current.id : "new");

const draft = () => memory(sessionStorageOf, DRAFT + draftName()) ?? "";

function keepDraft() {
  if (!editing) remember(sessionStorageOf, DRAFT + draftName(), prompt.value);
}

// Notices: what the reader should know until it is over or put away.

function notice(id, text, action = null) {
  clearNotice(id);
  const close = el("button", { type: "button", class: "link", on: { click: () => clearNotice(id) } }, "Dismiss");
  const act = action && el("button", { type: "button", class: "link", on: { click: () => { clearNotice(id); action.act(); } } }, action.name);
  $("notices").append(el("div", { id: `notice-${id}`, class: "notice", role: "alert" }, el("span", {}, text), act, close));
}

const clearNotice = (id) => $(`notice-${id}`)?.remove();

store.addEventListener("trouble", ({ detail }) => {
  if (detail === null) clearNotice("storage");
  else if (detail === "full") notice("storage", "The browser's storage is full: what is new is not kept. Export or delete conversations.");
  else notice("storage", "This browser stores nothing for this page: conversations end when it is closed.");
});

// The server's key, the models, the connection in words.

let asking = null;

// Resolves to whether there is a key now that the server takes; those who ask meanwhile get the same answer.
function askForKey() {
  asking ??= askOnce().finally(() => { asking = null; });
  return asking;
}

async function askOnce() {
  const key = await ask({
    title: "The server wants a key",
    text: "It was started with one. This tab keeps it until it is closed.",
    name: "Key", yes: "Use", secret: "yes",
  });
  if (!key) return false;
  setKey(key);
  await connection.check();
  return connection.state !== "key";
}

let wasAway = false;
connection.addEventListener("state", () => {
  setText($("connection-words"), connection.words);
  $("connection").dataset.state = connection.state;
  if (wasAway || connection.state !== "connected") announce(connection.words);
  wasAway = connection.state === "away";
  if (connection.state === "key") askForKey();
  if (connection.state !== "away") redrawEmpty();
});
connection.addEventListener("models", () => {
  drawModels();
  redrawEmpty();
});
$("connection").addEventListener("click", () => (connection.state === "key" ? askForKey() : connection.check()));

function redrawEmpty() {
  const node = document.querySelector(".empty");
  if (node) drawEmpty(node);
}

function drawModels() {
  const select = $("model");
  const names = connection.models.map(({ name }) => name);
  select.replaceChildren(...names.map((name) => el("option", { value: name }, name)));
  select.disabled = names.length < 2;
  select.parentElement.hidden = names.length === 0;
  if (names.length) select.value = connection.pick(current);
}

$("model").addEventListener("change", () => {
  current.model = $("model").value;
  if (isStored(current)) store.save(current);
});

// The conversation's menu and settings.

async function rename() {
  const conversation = current;
  const title = await ask({ title: "Rename", text: "", name: "Name of this conversation", value: conversation.title, yes: "Rename" });
  if (!title) return;
  Object.assign(conversation, { title, named: true });
  store.save(conversation);
  drawTitle();
  drawList();
}

async function remove() {
  const { id, title } = current;
  const yes = await ask({ title: "Delete this conversation?", text: `“${title}” cannot be brought back.`, yes: "Delete", danger: "yes" });
  if (yes === null) return;
  answers.drop(id);
  store.remove(id);
  newChat();
  announce("Deleted.");
}

async function changeSettings() {
  const conversation = current;
  const chosen = await editSettings(conversation);
  if (!chosen) return;
  Object.assign(conversation, chosen);
  store.rememberOptions(chosen.options);
  if (isStored(conversation)) store.save(conversation);
}

function setMenu(open) {
  $("menu").hidden = !open;
  $("open-menu").setAttribute("aria-expanded", String(open));
  if (open) $("rename").focus();
}

const menuActions = { rename, delete: remove, "export-markdown": () => exportMarkdown(current), "export-json": () => exportJson(current) };
for (const [id, act] of Object.entries(menuActions)) {
  $(id).addEventListener("click", () => {
    setMenu(false);
    $("open-menu").focus();
    act();
  });
}
$("open-menu").addEventListener("click", () => setMenu($("menu").hidden));
document.addEventListener("focusin", (event) => event.target.closest?.(".menu") || setMenu(false));
document.addEventListener("pointerdown", (event) => event.target.closest?.(".menu") || setMenu(false));
$("open-settings").addEventListener("click", changeSettings);

// The list of conversations and the engine's view. Where they lie over the messages, those cannot be reached meanwhile.

function setSidebar(open) {
  const was = document.body.classList.contains("sidebar-open");
  document.body.classList.toggle("sidebar-open", open);
  $("open-sidebar").setAttribute("aria-expanded", String(open));
  drawInert();
  if (open) $("new-chat").focus();
  else if (was) $("open-sidebar").focus();
}

function setLive(open) {
  const was = !$("live").hidden;
  $("live").hidden = !open;
  document.body.classList.toggle("live-open", open);
  $("toggle-live").setAttribute("aria-expanded", String(open));
  live.open = open;
  if (!NARROW.matches) remember(localStorageOf, LIVE, open ? "open" : "");
  drawInert();
  if (open && NARROW.matches) $("close-live").focus();
  else if (was && !open) $("toggle-live").focus();
}

function drawInert() {
  $("main").inert = NARROW.matches && (document.body.classList.contains("sidebar-open") || !$("live").hidden);
}

$("open-sidebar").addEventListener("click", () => setSidebar(true));
$("close-sidebar").addEventListener("click", () => setSidebar(false));
document.addEventListener("pointerdown", (event) => {
  if (document.body.classList.contains("sidebar-open") && !event.target.closest?.("#sidebar")) setSidebar(false);
});
$("new-chat").addEventListener("click", newChat);
$("toggle-live").addEventListener("click", () => setLive($("live").hidden));
$("close-live").addEventListener("click", () => setLive(false));
NARROW.addEventListener("change", drawInert);

// Colours; theme.js sets them before the first paint.

for (const input of document.querySelectorAll("#themes input")) {
  input.checked = input.value === (document.documentElement.dataset.theme ?? "system");
  input.addEventListener("change", () => {
    if (input.value === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = input.value;
    remember(localStorageOf, THEME, input.value === "system" ? "" : input.value);
  });
}

// The message box and the keys. Enter while an input method composes belongs to it (229 is how some browsers say so), and
// on touch screens, which have no Shift, Enter starts a line and the button sends.

prompt.addEventListener("input", () => {
  keepDraft();
  drawComposer();
});
prompt.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229 || TOUCH.matches) return;
  event.preventDefault();
  send();
});
$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
$("stop").addEventListener("click", () => answers.stop(current.id));
$("stop-editing").addEventListener("click", stopEditing);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  prompt.focus();
});

// Esc closes what lies on top, or else stops the answer. Dialogs close by themselves.
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing || document.querySelector("dialog[open]")) return;
  if (!$("menu").hidden) {
    setMenu(false);
    $("open-menu").focus();
  } else if (document.body.classList.contains("sidebar-open")) setSidebar(false);
  else if (!$("live").hidden && NARROW.matches) setLive(false);
  else if (editing) stopEditing();
  else answers.stop(current.id);
});

addEventListener("hashchange", showAddressed);
addEventListener("popstate", showAddressed);

show(store.get(location.hash.slice(1)) ?? current);
setLive(memory(localStorageOf, LIVE) === "open" && !NARROW.matches);
if (store.damaged) {
  notice("damaged", `${store.damaged} stored ${store.damaged === 1 ? "conversation is" : "conversations are"} damaged and cannot be shown.`,
    { name: "Delete what is damaged", act: () => store.removeDamaged() });
}
connection.check();
if (!TOUCH.matches) prompt.focus();
