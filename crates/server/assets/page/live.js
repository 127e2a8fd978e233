// The engine's view: what of the model stays in memory and what is streamed, how fast, and what was predicted.
//
// Polls /stats once a second while it is open and seen, and less often when the server does not answer. The numbers are
// plain text in description lists, so they can be read out whenever the reader goes there, and nothing speaks by itself.

import { stats } from "./api.js";
import { $, el, setText, svg } from "./dom.js";
import { bytes, count, gigabytes, number, parameters, percent, rate, seconds } from "./format.js";

const POLL_MS = 1000;
const LONGEST_WAIT_MS = 15e3;
// Seconds of history in the curves.
const N_SAMPLES = 90;
const STATES = { ready: "Ready", loading: "Loading", unloaded: "Unloaded", degraded: "In trouble" };

export class Live {
  #timer = 0;
  #failures = 0;
  #open = false;
  #samples = [];
  #measured = null;

  constructor(connection) {
    this.connection = connection;
    this.body = $("live-body");
    this.waiting = el("p", { class: "waiting" }, "Asking the engine.");
    this.parts = [new Speed(), new Layers(), new Memory(), new Caches(), new Totals()];
    this.body.append(this.waiting, ...this.parts.map((part) => part.node));
    this.#showParts(false);
    document.addEventListener("visibilitychange", () => this.#plan(0));
    connection.addEventListener("state", () => connection.state === "connected" && this.#failures > 0 && this.#plan(0));
  }

  set open(open) {
    this.#open = open;
    this.#plan(0);
  }

  #plan(wait) {
    clearTimeout(this.#timer);
    if (this.#open && !document.hidden) this.#timer = setTimeout(() => this.#poll(), wait);
  }

  async #poll() {
    const started = performance.now();
    try {
      const said = await stats();
      this.#failures = 0;
      this.connection.heard(said);
      this.#draw(said);
    } catch (error) {
      this.#failures += 1;
      this.connection.report(error);
      setText($("live-state"), error.kind === "key" ? "Key needed" : "No answer");
      $("live-state").dataset.state = "away";
      this.#stale();
      if (!this.#samples.length) setText(this.waiting, `${error.message} Trying again.`);
    }
    const wait = Math.min(POLL_MS * 2 ** this.#failures, LONGEST_WAIT_MS);
    this.#plan(Math.max(0, wait - (this.#failures ? 0 : performance.now() - started)));
  }

  #draw(said) {
    const now = said.now ?? {};
    this.body.classList.remove("stale");
    this.#showParts(true);
    setText($("live-state"), STATES[said.state] ?? "");
    $("live-state").dataset.state = said.state ?? "";
    this.#samples.push({ tokens: number(now.tokens_per_second) ?? 0, bytes: number(now.bytes_per_second) ?? 0 });
    if (this.#samples.length > N_SAMPLES) this.#samples.shift();
    // The prediction is for one answer alone, so what is measured is divided among those that are written together.
    if (now.decoding > 0 && now.tokens_per_second > 0) this.#measured = now.tokens_per_second / now.decoding;
    for (const part of this.parts) part.draw(said, { samples: this.#samples, measured: this.#measured });
  }

  // What is shown is from before the server went away; nothing flows any more.
  #stale() {
    this.body.classList.add("stale");
    for (const part of this.parts) part.stop?.();
  }

  #showParts(shown) {
    this.waiting.hidden = shown;
    for (const part of this.parts) part.node.hidden = !shown;
  }
}

// Tokens and bytes a second over the last minute and a half, waiting against computing, predicted against measured.
class Speed {
  constructor() {
    this.tokens = figure("tokens/s");
    this.read = figure("GB/s read");
    this.tokensCurve = new Curve("tokens");
    this.bytesCurve = new Curve("bytes");
    this.share = new Bar([["compute", "computing"], ["wait", "waiting for the SSD (stall)"]]);
    this.verdict = el("p", { class: "verdict" });
    this.queue = el("p", { class: "quiet-line" });
    this.node = section("Speed", el("div", { class: "pair" },
      el("div", {}, this.tokens.node, this.tokensCurve.node), el("div", {}, this.read.node, this.bytesCurve.node)),
    this.verdict, this.share.node, this.queue);
  }

  draw({ now = {}, plan = {} }, { samples, measured }) {
    setText(this.tokens.value, rate(now.tokens_per_second));
    setText(this.read.value, gigabytes(now.bytes_per_second));
    this.tokensCurve.draw(samples, number(plan.predicted_tokens_per_second));
    this.bytesCurve.draw(samples, null);
    const busy = number(now.stall_share) !== null && (now.passes_per_second > 0 || now.stall_share > 0);
    const stall = busy ? now.stall_share : 0;
    this.share.draw([[busy ? 1 - stall : 0, busy ? percent(1 - stall) : "–"], [stall, busy ? percent(stall) : "–"]]);
    setText(this.verdict, verdict(number(plan.predicted_tokens_per_second), measured));
    setText(this.queue, queue(now));
  }
}

function verdict(predicted, measured) {
  if (predicted === null) return measured === null ? "No prediction yet." : `${rate(measured)} tokens/s measured for one answer; no prediction yet.`;
  if (measured === null) return `${rate(predicted)} tokens/s predicted for one answer; not measured yet.`;
  return `${rate(predicted)} tokens/s predicted for one answer, ${rate(measured)} measured: ${percent(measured / predicted)}.`;
}

function queue({ decoding, prefilling, queued, passes_per_second: passes }) {
  const said = [[decoding, "writing"], [prefilling, "reading a prompt"], [queued, "in the queue"]].filter(([n]) => n > 0);
  if (!said.length) return "Nothing to do.";
  return `${said.map(([n, what]) => `${count(n)} ${what}`).join(", ")}; ${rate(passes)} passes a second.`;
}

// Each layer as a column: what of it is pinned below, what is streamed above. While the model runs, a line goes through the
// layers once a pass, at the pace of the passes.
class Layers {
  constructor() {
    this.map = el("div", { class: "map" });
    this.legend = new Bar([["pinned", "pinned in memory"], ["streamed", "streamed every pass"]]);
    this.name = el("p", { class: "quiet-line" });
    this.node = section("Weights", this.name, this.map, this.legend.node,
      el("p", { class: "quiet-line" }, "A column is a layer, as wide as its bytes; the last one is the output head."));
    this.shown = "";
  }

  draw({ model = {}, layers = [], now = {} }) {
    setText(this.name, describe(model));
    const shown = JSON.stringify(layers);
    if (shown !== this.shown) this.#redraw(layers);
    this.shown = shown;
    this.#sweep(now.passes_per_second);
  }

  stop() {
    this.#sweep(0);
  }

  #redraw(layers) {
    const { pinned, streamed } = sums(layers);
    this.map.replaceChildren(layerMap(layers));
    const share = pinned + streamed > 0 ? pinned / (pinned + streamed) : 0;
    this.legend.draw([[share, `${bytes(pinned)}, ${percent(share)}`], [1 - share, bytes(streamed)]]);
    this.animation?.cancel();
    this.animation = null;
  }

  #sweep(passes) {
    const line = this.map.querySelector(".sweep");
    const still = !(passes > 0) || !line || matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (line) line.hidden = still;
    if (still) {
      this.animation?.pause();
      return;
    }
    const frames = [{ transform: "translateX(0)" }, { transform: "translateX(100%)" }];
    this.animation ??= line.animate(frames, { duration: 1000, iterations: Infinity });
    // Faster than this the eye sees only flicker.
    this.animation.updatePlaybackRate(Math.min(passes, 2));
    this.animation.play();
  }
}

export function describe({ name, parameters: size, quantization, n_layers: layers, context }) {
  const said = [name, number(size) && `${parameters(size)} parameters`, quantization, number(layers) && `${count(layers)} layers`,
    number(context) && `context ${count(context)} tokens`];
  return said.filter(Boolean).join(" · ");
}

export function sums(layers) {
  const sum = (name) => layers.reduce((total, layer) => total + (number(layer[name]) ?? 0), 0);
  return { pinned: sum("pinned_bytes"), streamed: sum("streamed_bytes") };
}

// The picture of the layers: a column each, as wide as its bytes and filled as far as it is pinned, so areas are bytes.
export function layerMap(layers) {
  const [width, height] = [1000, 100];
  const { pinned, streamed } = sums(layers);
  const gap = layers.length > 64 ? 1 : 3;
  let x = 0;
  const bars = layers.flatMap((layer) => {
    const size = layer.pinned_bytes + layer.streamed_bytes;
    const column = (width * size) / Math.max(1, pinned + streamed);
    const y = size > 0 ? (height * layer.streamed_bytes) / size : 0;
    const bar = (name, top, h) => h > 0 && svg("rect", { class: name, x, y: top, width: Math.max(0.5, column - gap), height: h });
    const both = [bar("streamed", 0, y), bar("pinned", y, height - y)];
    x += column;
    return both;
  });
  const label = `${layers.length} columns, one a layer and the output head last: ${bytes(pinned)} pinned, ${bytes(streamed)} streamed every pass.`;
  const picture = svg("svg", { viewBox: `0 0 ${width - gap} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label }, ...bars);
  return el("div", { class: "layers" }, picture, el("div", { class: "sweep", "aria-hidden": "true", hidden: true }));
}

class Memory {
  constructor() {
    this.bar = new Bar([["pinned", "weights"], ["kv", "keys and values"], ["rest", "activations, slots, spare"]]);
    this.budget = el("p", { class: "quiet-line" });
    this.node = section("Memory", this.budget, this.bar.node);
  }

  draw({ plan = {} }) {
    const total = number(plan.budget_bytes) ?? 0;
    const [pinned, kv] = [number(plan.pinned_bytes) ?? 0, number(plan.kv_bytes) ?? 0];
    const rest = Math.max(0, total - pinned - kv);
    const all = Math.max(1, pinned + kv + rest);
    setText(this.budget, `Budget ${bytes(total)}, weights ${bytes(plan.weights_bytes)}, ${bytes(plan.streamed_bytes_per_pass)} streamed a pass.`);
    this.bar.draw([pinned, kv, rest].map((part) => [part / all, bytes(part)]));
  }
}

class Caches {
  constructor() {
    this.pages = new Bar([["kv", "in use"], ["cached", "kept for prompts to come"], ["rest", "free"]]);
    this.kv = el("p", { class: "quiet-line" });
    this.prompts = el("p", { class: "quiet-line" });
    this.node = section("KV and prompt cache", this.kv, this.pages.node, this.prompts);
  }

  draw({ kv = {}, prompt_cache: prompts = {} }) {
    const [all, free, cached] = [kv.n_pages, kv.n_free_pages, kv.n_cached_pages].map((n) => number(n) ?? 0);
    const used = Math.max(0, all - free - cached);
    setText(this.kv, `${count(all)} pages of ${bytes(kv.page_bytes)}.`);
    this.pages.draw([used, cached, free].map((n) => [n / Math.max(1, all), count(n)]));
    const asked = (number(prompts.hits) ?? 0) + (number(prompts.misses) ?? 0);
    setText(this.prompts, asked === 0 ? "No prompt has been looked up yet."
      : `${count(prompts.hits)} of ${count(asked)} prompts began as one before; ${count(prompts.saved_tokens)} tokens were not computed again.`);
  }
}

class Totals {
  constructor() {
    this.values = ["Up for", "Requests", "Prompt tokens", "Written tokens", "Read from the SSD", "Waited for it", "Computed"].map((name) => [name, el("dd")]);
    this.node = section("Since the start", el("dl", { class: "pair" }, ...this.values.map(([name, value]) => el("div", {}, el("dt", {}, name), value))));
  }

  draw({ uptime_s: up, totals = {} }) {
    const said = [seconds(number(up) === null ? null : up * 1000), count(totals.requests), count(totals.prompt_tokens), count(totals.generated_tokens),
      bytes(totals.bytes_read), seconds(totals.stall_ms), seconds(totals.compute_ms)];
    said.forEach((text, place) => setText(this.values[place][1], text));
  }
}

// Parts of a whole, with a legend that carries the numbers; `draw` takes `[share, text]` for each part.
class Bar {
  constructor(parts) {
    this.parts = parts.map(([className, name]) => ({ fill: el("i", { class: className }), value: el("b"), className, name }));
    const legend = this.parts.map(({ className, name, value }) => el("li", {}, el("i", { class: className, "aria-hidden": "true" }), `${name} `, value));
    this.node = el("div", {}, el("div", { class: "shares", "aria-hidden": "true" }, ...this.parts.map(({ fill }) => fill)), el("ul", { class: "legend" }, ...legend));
  }

  draw(shares) {
    shares.forEach(([share, text], place) => {
      const { fill, value } = this.parts[place];
      fill.style.flexGrow = String(Math.max(0, Math.min(1, share)));
      fill.hidden = !(share > 0.0005);
      setText(value, text);
    });
  }
}

// A curve over time; `mark` is a level to draw as a dashed line.
class Curve {
  constructor(field) {
    this.field = field;
    this.line = svg("polyline");
    this.area = svg("polygon");
    this.mark = svg("line", { x1: 0, x2: N_SAMPLES - 1 });
    this.node = svg("svg", { class: `curve ${field}`, viewBox: `0 0 ${N_SAMPLES - 1} 40`, preserveAspectRatio: "none", "aria-hidden": "true" }, this.area, this.mark, this.line);
  }

  draw(samples, level) {
    const values = samples.map((sample) => sample[this.field]);
    const most = Math.max(...values, level ?? 0) * 1.1 || 1;
    const y = (value) => (39 - (38 * value) / most).toFixed(2);
    const first = N_SAMPLES - values.length;
    const points = values.map((value, place) => `${first + place},${y(value)}`).join(" ");
    this.line.setAttribute("points", points);
    this.area.setAttribute("points", `${first},40 ${points} ${N_SAMPLES - 1},40`);
    this.mark.toggleAttribute("hidden", level === null);
    for (const end of ["y1", "y2"]) this.mark.setAttribute(end, y(level ?? 0));
  }
}

function figure(unit) {
  const value = el("span", { class: "big" });
  return { value, node: el("p", {}, value, " ", el("span", { class: "unit" }, unit)) };
}

function section(title, ...children) {
  return el("section", {}, el("h3", {}, title), ...children);
}
