// Answers that are being written: asks the server, gathers what comes, and keeps it as it grows.
//
// Knows nothing of the DOM. A conversation has at most one answer on its way, several conversations may have one each, and
// each goes on while another conversation is open. Whatever ends an answer, what had come of it stays.

import { ApiError, chat } from "./api.js";
import { optionsFrom } from "./store.js";

// An answer is stored this often while it grows, so that a crash costs at most as much of it.
const SAVE_MS = 1000;
// Other tabs are told this often that the conversation is being written to.
const CLAIM_MS = 5000;

// Events carry the conversation's id in `detail`: "grow" when text came, "end" when the answer is over.
export class Answers extends EventTarget {
  #running = new Map();
  // The browser is tearing the page down, and its connections with it: those have not failed.
  #leaving = false;
  #store;

  constructor(store) {
    super();
    this.#store = store;
    setInterval(() => this.saveAll(), SAVE_MS);
    // The page may be gone at once after these, so what is not stored by then is lost.
    addEventListener("pagehide", () => {
      this.saveAll();
      this.#leaving = true;
      for (const id of this.#running.keys()) this.#store.release(id);
    });
    addEventListener("pageshow", () => { this.#leaving = false; });
    document.addEventListener("visibilitychange", () => this.saveAll());
  }

  running(id) {
    return this.#running.get(id);
  }

  // Asks for an answer to the conversation as it stands. `model()` gives the model's name once the server has told it.
  // `before` is the answer that this one replaces: it comes back when nothing takes its place.
  start(conversation, model, before = null) {
    const message = { role: "assistant", content: "", thinking: "", model: "", at: Date.now(), state: "answering", reason: "", error: "", stats: {} };
    const body = { messages: messagesFor(conversation), stream: true, options: optionsFrom(conversation.options) };
    conversation.messages.push(message);
    conversation.updated = Date.now();
    const answer = { conversation, message, before, control: new AbortController(), started: performance.now(), dirty: true };
    this.#running.set(conversation.id, answer);
    this.#save(answer);
    answer.finished = this.#run(answer, model, body);
    return answer;
  }

  stop(id) {
    this.#running.get(id)?.control.abort();
  }

  // The conversation is gone: nothing of it may be stored again.
  drop(id) {
    const answer = this.#running.get(id);
    if (!answer) return;
    answer.dropped = true;
    answer.control.abort();
  }

  saveAll() {
    for (const answer of this.#running.values()) this.#save(answer);
  }

  #save(answer) {
    if (answer.dropped) return;
    if (!(Date.now() - answer.claimed < CLAIM_MS)) {
      answer.claimed = Date.now();
      this.#store.claim(answer.conversation.id);
    }
    if (!answer.dirty) return;
    answer.dirty = false;
    this.#store.save(answer.conversation);
  }

  async #run(answer, model, body) {
    const { conversation, message, control } = answer;
    try {
      message.model = await model();
      if (!control.signal.aborted) await this.#read(answer, { model: message.model, ...body });
      if (control.signal.aborted) message.state = "stopped";
    } catch (error) {
      if (this.#leaving) return;
      end(message, error, control.signal.aborted);
      answer.error = error;
    }
    message.stats.total_ms = performance.now() - answer.started;
    if (answer.before && message.state !== "done" && !message.content && !message.thinking) bringBack(answer);
    this.#running.delete(conversation.id);
    if (!answer.dropped) {
      this.#store.save(conversation);
      this.#store.release(conversation.id);
    }
    this.dispatchEvent(new CustomEvent("end", { detail: conversation.id }));
  }

  async #read(answer, body) {
    const { conversation, message } = answer;
    for await (const line of chat(body, answer.control.signal)) {
      const { content, thinking } = line.message ?? {};
      if (content || thinking) message.stats.first_token_ms ??= performance.now() - answer.started;
      if (typeof content === "string") message.content += content;
      if (typeof thinking === "string") message.thinking += thinking;
      answer.dirty = true;
      if (line.done) {
        finish(message, line);
        return;
      }
      this.dispatchEvent(new CustomEvent("grow", { detail: conversation.id }));
    }
    if (!answer.control.signal.aborted) throw new ApiError("away", "The connection ended before the answer did.");
  }
}

// What the model is told. Some models' templates accept nothing but turns, so questions without an answer become one, and
// answers of which nothing came are left out.
function messagesFor({ system, messages }) {
  const told = system.trim() ? [{ role: "system", content: system }] : [];
  for (const { role, content } of messages) {
    if (!content) continue;
    const last = told.at(-1);
    if (last?.role === role) last.content += `\n\n${content}`;
    else told.push({ role, content });
  }
  return told;
}

function finish(message, line) {
  message.state = "done";
  message.reason = typeof line.done_reason === "string" ? line.done_reason : "";
  message.stats.tokens = line.eval_count;
  message.stats.prompt_tokens = line.prompt_eval_count;
  if (line.eval_count > 0 && line.eval_duration > 0) message.stats.tokens_per_second = line.eval_count / (line.eval_duration / 1e9);
}

function end(message, error, stopped) {
  message.state = stopped ? "stopped" : "failed";
  if (stopped) return;
  message.error = error instanceof ApiError ? error.message : `The page failed: ${error.message}`;
}

function bringBack({ conversation, message, before }) {
  conversation.messages.pop();
  conversation.messages.push({ ...before, error: message.error || before.error });
}
