// Conversations in the browser's local storage, one entry each, and what was chosen for new ones.
//
// Entries are read once and then held in memory; another tab's changes arrive as storage events. What is stored may be
// anything (an older page wrote it, a person edited it, a write was cut short), so it is rebuilt field by field, and an
// entry that cannot be read stays untouched until the reader says that it may go. A tab that writes an answer keeps a
// second entry fresh, from which other tabs know that they must not write to that conversation meanwhile.

const ENTRY = "ssd-llm.conversation.";
const ANSWERING = "ssd-llm.answering.";
const DEFAULTS = "ssd-llm.options";
// Browsers wake the timers of a hidden tab once a minute at worst, so an older sign is of a tab that has crashed.
const STALE_MS = 90e3;
const MAX_TITLE_LEN = 60;

export const UNTITLED = "New chat";
export const OPTIONS = ["temperature", "top_k", "top_p", "min_p", "repeat_penalty", "seed", "num_predict"];

const tab = Math.random().toString(36).slice(2);

// Local storage behind calls that never throw. Without it, conversations last as long as the page.
const disk = {
  keys() {
    try {
      return Object.keys(localStorage);
    } catch {
      return [];
    }
  },
  read(key) {
    try {
      return localStorage.getItem(key);
    } catch {
      return null;
    }
  },
  // True when it was written, "full" when there is no room, false when the browser refuses to store at all.
  write(key, value) {
    try {
      localStorage.setItem(key, value);
      return true;
    } catch (error) {
      return error?.name?.includes("Quota") ? "full" : false;
    }
  },
  remove(key) {
    try {
      localStorage.removeItem(key);
    } catch {
      // Nothing was stored then.
    }
  },
};

// Events: "change" with the id of a conversation that another tab wrote or removed, "trouble" when a write fails or works
// again (`detail` is "full", "refused" or null).
export class Store extends EventTarget {
  #conversations = new Map();
  #damaged = [];
  #trouble = null;

  constructor() {
    super();
    for (const key of disk.keys().filter((key) => key.startsWith(ENTRY))) this.#load(key);
    addEventListener("storage", (event) => this.#heard(event.key));
  }

  get damaged() {
    return this.#damaged.length;
  }

  removeDamaged() {
    for (const key of this.#damaged.splice(0)) disk.remove(key);
  }

  // Newest first.
  list() {
    return [...this.#conversations.values()].sort((a, b) => b.updated - a.updated);
  }

  get(id) {
    return this.#conversations.get(id);
  }

  // A conversation that is not stored before its first message.
  create() {
    const options = optionsFrom(parse(disk.read(DEFAULTS)));
    return { id: newId(), title: UNTITLED, named: false, updated: Date.now(), model: null, system: "", options, messages: [] };
  }

  save(conversation) {
    if (!conversation.named) conversation.title = titleOf(conversation);
    this.#conversations.set(conversation.id, conversation);
    const written = disk.write(ENTRY + conversation.id, JSON.stringify(conversation));
    const trouble = written === true ? null : written || "refused";
    if (trouble !== this.#trouble) {
      this.#trouble = trouble;
      this.dispatchEvent(new CustomEvent("trouble", { detail: trouble }));
    }
  }

  remove(id) {
    this.#conversations.delete(id);
    disk.remove(ENTRY + id);
    this.release(id);
  }

  rememberOptions(options) {
    disk.write(DEFAULTS, JSON.stringify(options));
  }

  // Says to other tabs that this one writes to the conversation; must be repeated well within STALE_MS.
  claim(id) {
    disk.write(ANSWERING + id, JSON.stringify({ tab, at: Date.now() }));
  }

  release(id) {
    if (parse(disk.read(ANSWERING + id))?.tab === tab) disk.remove(ANSWERING + id);
  }

  isClaimedElsewhere(id) {
    const sign = parse(disk.read(ANSWERING + id));
    return Boolean(sign && sign.tab !== tab && Date.now() - sign.at < STALE_MS);
  }

  #load(key) {
    const conversation = conversationFrom(parse(disk.read(key)), key.slice(ENTRY.length));
    if (!conversation) {
      this.#damaged.push(key);
      return;
    }
    this.#conversations.set(conversation.id, conversation);
  }

  // A null key means that everything was cleared.
  #heard(key) {
    if (key === null) {
      for (const id of [...this.#conversations.keys()]) this.#forget(id);
      return;
    }
    const id = [ENTRY, ANSWERING].filter((prefix) => key.startsWith(prefix)).map((prefix) => key.slice(prefix.length))[0];
    if (!id) return;
    if (disk.read(ENTRY + id) === null) {
      this.#forget(id);
      return;
    }
    // This tab is writing to it: what it holds is newer than what another one stored.
    if (parse(disk.read(ANSWERING + id))?.tab === tab) return;
    const conversation = conversationFrom(parse(disk.read(ENTRY + id)), id);
    if (conversation) this.#conversations.set(id, conversation);
    this.dispatchEvent(new CustomEvent("change", { detail: id }));
  }

  #forget(id) {
    if (this.#conversations.delete(id)) this.dispatchEvent(new CustomEvent("change", { detail: id }));
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

// `crypto.randomUUID` exists only on https and localhost.
function newId() {
  return [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function titleOf({ messages }) {
  const text = messages.find((message) => message.role === "user")?.content.trim().replace(/\s+/g, " ") ?? "";
  if (!text) return UNTITLED;
  return text.length > MAX_TITLE_LEN ? `${text.slice(0, MAX_TITLE_LEN - 1).trimEnd()}…` : text;
}

const string = (value, otherwise = "") => (typeof value === "string" ? value : otherwise);

function conversationFrom(value, id) {
  if (!value || typeof value !== "object" || !Array.isArray(value.messages)) return null;
  return {
    id,
    title: string(value.title, UNTITLED),
    named: value.named === true,
    updated: Number.isFinite(value.updated) ? value.updated : 0,
    model: string(value.model, null),
    system: string(value.system),
    options: optionsFrom(value.options),
    messages: value.messages.filter((message) => message && typeof message === "object").map(messageFrom),
  };
}

function messageFrom(value) {
  const message = { role: value.role === "user" ? "user" : "assistant", content: string(value.content), at: Number.isFinite(value.at) ? value.at : 0 };
  if (message.role === "user") return message;
  return {
    ...message,
    thinking: string(value.thinking),
    model: string(value.model),
    state: ["answering", "done", "stopped", "failed"].includes(value.state) ? value.state : "done",
    reason: string(value.reason),
    error: string(value.error),
    stats: value.stats && typeof value.stats === "object" ? value.stats : {},
  };
}

export function optionsFrom(value) {
  const options = {};
  for (const name of OPTIONS) if (Number.isFinite(value?.[name])) options[name] = value[name];
  const stop = Array.isArray(value?.stop) ? value.stop.filter((text) => typeof text === "string" && text !== "") : [];
  if (stop.length) options.stop = stop;
  return options;
}
