// Shows one conversation and follows the answer that is being written in it.
//
// Text is drawn at most once a frame and takes at most a fifth of the time, however fast tokens come and however long the
// answer is. The view scrolls along only while the reader is at its end. Screen readers are told when an answer begins and
// ends, not every token.

import { $, announce, copyButton, el, setText } from "./dom.js";
import { count, rate, seconds } from "./format.js";
import { MarkdownView } from "./markdown.js";

// As close to the end as this counts as being there.
const END_PX = 48;
const LEAST_DRAW_MS = 40;
const IDLE_SHARE = 4;
// Longer answers are not read out whole when they are done; the reader can go to them.
const MAX_SPOKEN_LEN = 240;

export class Messages {
  #views = [];
  #answer = null;
  #drawing = false;
  #drawMs = 0;
  #following = true;
  #lastTop = 0;
  #wasWriting = false;

  // `actions` has `retry()` and `edit()` for the last exchange, and `empty()`, which makes what an empty conversation shows.
  constructor(actions) {
    this.actions = actions;
    this.root = $("messages");
    this.scroller = $("scroll");
    this.scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => this.#follow()).observe(this.scroller);
    $("to-newest").addEventListener("click", () => {
      this.toEnd();
      this.scroller.focus({ preventScroll: true });
    });
    setInterval(() => this.#tick(), 1000);
  }

  // Shows a conversation from scratch; `answer` is the one on its way in it, if any. What another tab is writing is shown
  // as far as it is stored, and cannot be changed here.
  show(conversation, answer, elsewhere = false) {
    this.#answer = answer ?? null;
    this.#wasWriting = false;
    this.#views = conversation.messages.map((message) => (message.role === "user" ? new Question(message) : new Answer(message)));
    this.root.replaceChildren(...this.#views.map((view) => view.node));
    if (!conversation.messages.length) this.root.append(this.actions.empty());
    for (const view of this.#views) view.draw(answer?.message === view.message ? answer : null);
    if (elsewhere) this.#views.at(-1)?.drawElsewhere?.();
    this.#offer(answer || elsewhere);
    this.toEnd();
  }

  // More of the answer has come.
  grow() {
    if (this.#drawing || !this.#answer) return;
    this.#drawing = true;
    const wait = Math.max(LEAST_DRAW_MS, IDLE_SHARE * this.#drawMs);
    setTimeout(() => requestAnimationFrame(() => this.#draw()), wait);
  }

  // The answer on its way is over; the conversation is as it will stay.
  end(conversation) {
    const { scrollTop } = this.scroller;
    const following = this.#following;
    const last = conversation.messages.at(-1);
    if (this.#views.at(-1)?.message !== last) {
      this.show(conversation, null);
    } else {
      this.#answer = null;
      this.#views.at(-1).draw(null);
      this.#offer(null);
      this.#follow();
    }
    if (!following) this.scroller.scrollTop = scrollTop;
    announce(spokenEnd(last));
  }

  toEnd() {
    this.#following = true;
    this.#follow();
    $("to-newest").hidden = true;
  }

  #draw() {
    this.#drawing = false;
    if (!this.#answer) return;
    const started = performance.now();
    this.#views.at(-1).draw(this.#answer);
    this.#follow();
    this.#drawMs = performance.now() - started;
    if (!this.#wasWriting) announce("The answer begins.");
    this.#wasWriting = true;
  }

  #tick() {
    if (this.#answer && !document.hidden) this.#views.at(-1).drawStatus(this.#answer);
  }

  #follow() {
    if (!this.#following) return;
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.#lastTop = this.scroller.scrollTop;
  }

  // Scrolling up by however little means that the reader wants to read there; a text that grows only moves the end away.
  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    const atEnd = scrollHeight - scrollTop - clientHeight < END_PX;
    if (scrollTop < this.#lastTop - 1) this.#following = atEnd && scrollHeight - scrollTop - clientHeight < 2;
    else if (atEnd) this.#following = true;
    this.#lastTop = scrollTop;
    $("to-newest").hidden = atEnd;
  }

  // Only the last exchange can be asked for again or changed, and only when nothing is on its way.
  #offer(busy) {
    const last = busy ? null : this.#views.at(-1);
    const lastQuestion = busy ? null : this.#views.findLast((view) => view instanceof Question);
    for (const view of this.#views) {
      view.offer({ retry: view === last && this.actions.retry, edit: view === lastQuestion && this.actions.edit });
    }
  }
}

class Question {
  constructor(message) {
    this.message = message;
    this.actions = el("footer");
    const text = el("div", { class: "text" }, message.content);
    this.node = el("article", { class: "message question" }, el("h2", { class: "hidden" }, "You"), text, this.actions);
  }

  draw() {}

  // A question under which nothing stands, because the page went away in between, can be asked again.
  offer({ retry, edit }) {
    this.actions.replaceChildren(...[edit && action("Edit", edit), retry && action("Retry", retry)].filter(Boolean));
  }
}

class Answer {
  constructor(message) {
    this.message = message;
    this.text = el("div", { class: "text" });
    this.markdown = new MarkdownView(this.text);
    this.status = el("p", { class: "status" });
    this.trouble = el("p", { class: "trouble" });
    this.figures = el("p", { class: "figures" });
    this.actions = el("span", { class: "actions" });
    this.thoughts = el("div", { class: "thoughts" });
    this.summary = el("summary");
    this.thinking = el("details", { class: "thinking" }, this.summary, this.thoughts);
    const name = el("h2", { class: "hidden" }, "Answer");
    const footer = el("footer", {}, this.figures, this.actions);
    this.node = el("article", { class: "message answer" }, name, this.thinking, this.text, this.status, this.trouble, footer);
  }

  // `answer` is the running one, or null when this message is complete.
  draw(answer) {
    const { message } = this;
    this.node.setAttribute("aria-busy", String(Boolean(answer)));
    this.#drawThinking(answer);
    if (answer) this.markdown.grow(message.content);
    else this.markdown.finish(message.content);
    this.drawStatus(answer);
    const trouble = answer ? "" : troubleOf(message);
    setText(this.trouble, trouble);
    this.trouble.hidden = !trouble;
    this.trouble.classList.toggle("mild", !message.error);
    const figures = answer ? "" : figuresOf(message);
    setText(this.figures, figures);
    this.figures.hidden = !figures;
  }

  drawStatus(answer) {
    const text = answer ? statusOf(this.message, performance.now() - answer.started) : "";
    this.status.hidden = !text;
    this.status.classList.toggle("writing", Boolean(this.message.content));
    setText(this.status, text);
  }

  drawElsewhere() {
    setText(this.trouble, "This answer is being written in another tab.");
  }

  offer({ retry }) {
    const copy = this.message.content && copyButton("Copy this answer", () => this.message.content);
    this.actions.replaceChildren(...[copy, retry && action("Retry", retry)].filter(Boolean));
  }

  #drawThinking(answer) {
    const { thinking, content } = this.message;
    this.thinking.hidden = !thinking;
    if (!thinking) return;
    setText(this.summary, answer && !content ? "Thinking" : "Thoughts");
    const shown = this.thoughts.textContent.length;
    if (shown < thinking.length) this.thoughts.append(thinking.slice(shown));
  }
}

const action = (name, act) => el("button", { type: "button", class: "link", on: { click: act } }, name);

function statusOf({ content, thinking }, ms) {
  if (content) return `Writing, ${seconds(ms)}`;
  return `${thinking ? "Thinking" : "Reading the prompt"}, ${seconds(ms)}`;
}

function troubleOf({ state, error, content, reason }) {
  if (state === "failed") return content ? `${error.replace(/[.\s]+$/, "")}. What had come of the answer is kept.` : error;
  if (error) return `The new try brought nothing (${error}) so this is the answer from before.`;
  if (state === "answering") return "The page was closed or reloaded before the answer was complete.";
  if (state === "stopped") return content ? "Stopped before the end." : "Stopped before the answer began.";
  if (reason === "length") return "Cut off: the limit of tokens was reached (length).";
  return content ? "" : "The model ended without a word.";
}

function figuresOf({ stats }) {
  const said = [];
  if (stats.tokens_per_second) said.push(`${rate(stats.tokens_per_second)} tokens/s`);
  if (Number.isFinite(stats.tokens)) said.push(`${count(stats.tokens)} tokens`);
  if (Number.isFinite(stats.prompt_tokens)) said.push(`prompt ${count(stats.prompt_tokens)} tokens`);
  if (Number.isFinite(stats.first_token_ms)) said.push(`first token after ${seconds(stats.first_token_ms)}`);
  return said.join(" · ");
}

function spokenEnd(message) {
  if (!message || message.role === "user") return "";
  const trouble = troubleOf(message);
  if (trouble) return trouble;
  const { content } = message;
  return content.length <= MAX_SPOKEN_LEN ? `Answer: ${content}` : `The answer is complete: ${count(content.split(/\s+/).length)} words.`;
}
