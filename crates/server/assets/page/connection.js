// Whether the server is there, in words, and which models it has.
//
// Asks /api/tags now and then while the page is seen, soon again when the server is away, and at once when the reader comes
// back. Other parts report what they ran into, so a broken answer is noticed before the next question.

import { ApiError, stats, tags } from "./api.js";

const CALM_MS = 20e3;
const LOADING_MS = 2e3;
const RETRY_MS = [1e3, 2e3, 4e3, 8e3, 15e3];

const WORDS = {
  connecting: "Connecting",
  connected: "Connected",
  loading: "Loading the model",
  degraded: "Connected, with trouble",
  away: "Server away, trying again",
  key: "Key needed",
  empty: "No model",
};

// Events: "state" when the state or its words change, "models" when the list of models does.
export class Connection extends EventTarget {
  state = "connecting";
  models = [];
  // The last that /stats said; null when this server does not say.
  stats = null;
  #timer = 0;
  #tries = 0;
  #checking = null;

  constructor() {
    super();
    document.addEventListener("visibilitychange", () => document.hidden || this.check());
    addEventListener("online", () => this.check());
  }

  get words() {
    return WORDS[this.state];
  }

  // Asks now; those who call meanwhile get the same answer. Never fails: what went wrong is the state.
  check() {
    this.#checking ??= this.#ask().finally(() => {
      this.#checking = null;
      this.#plan();
    });
    return this.#checking;
  }

  // The name of the model that `conversation` speaks with.
  async modelFor(conversation) {
    if (!this.models.length) await this.check();
    const name = this.pick(conversation);
    if (name) return name;
    if (this.state === "key") throw new ApiError("key", "The server wants a key.");
    throw this.state === "empty"
      ? new ApiError("refused", "The server has no model.")
      : new ApiError("away", "The server cannot be reached.");
  }

  pick({ model }) {
    return (this.models.find(({ name }) => name === model) ?? this.models[0])?.name;
  }

  // Takes note of what another request ran into, and of what /stats said to the engine's view.
  report(error) {
    if (error?.kind !== "away" && error?.kind !== "key") return;
    this.#set(error.kind);
    this.#plan();
  }

  heard(said) {
    this.stats = said;
    const state = { loading: "loading", degraded: "degraded" }[said?.state] ?? "connected";
    if (this.models.length) this.#set(state);
  }

  async #ask() {
    try {
      const models = await tags();
      this.#tries = 0;
      const changed = JSON.stringify(models) !== JSON.stringify(this.models);
      this.models = models;
      if (!models.length) this.#set("empty");
      else this.heard(await stats().catch(() => null));
      if (changed) this.dispatchEvent(new Event("models"));
    } catch (error) {
      this.#set(error.kind === "key" ? "key" : "away");
      this.#tries += 1;
    }
  }

  #plan() {
    clearTimeout(this.#timer);
    if (document.hidden || this.state === "key") return;
    const calm = this.state === "loading" ? LOADING_MS : CALM_MS;
    const wait = this.state === "away" ? RETRY_MS[Math.min(this.#tries, RETRY_MS.length) - 1] ?? RETRY_MS[0] : calm;
    this.#timer = setTimeout(() => this.check(), wait);
  }

  #set(state) {
    if (state === this.state) return;
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }
}
