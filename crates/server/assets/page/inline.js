// Inline Markdown as DOM nodes: code, emphasis, links, line breaks. The texts come from markdown.js.
//
// The text is a model's, so it is not trusted: it only ever becomes text nodes, a link leads to http, https or mail and
// nowhere else, and an image is shown as a link to it, since fetching it would tell a stranger who reads what.
// Every scan is linear or bounded, because a hostile text must not hang the page either.

import { el } from "./dom.js";

const SAFE = new Set(["http:", "https:", "mailto:"]);
const PUNCTUATION = /[\p{P}\p{S}]/u;
const ESCAPABLE = "\\`*_{}<>#+-.!|~\"'$%&,/:;=?@^";
const BARE_LINK = /https?:\/\/[^\s<>"'`\\]+/y;
const ANGLE_LINK = /<((?:https?:\/\/|mailto:)[^\s<>]+)>/y;
const BREAK = /<br ?\/?>/iy;
// Longer targets and deeper searches than these are not what people or models write.
const MAX_TARGET_LEN = 2000;
const MAX_NAME_LEN = 300;
const MAX_OPENERS = 32;
// Nested deeper than this, emphasis is not told apart any more, and the browser's recursion over nodes stays shallow.
const MAX_DEPTH = 24;

// Appends `source` to `parent`.
export function renderInline(source, parent) {
  const scan = new Scan(source);
  scan.run();
  parent.append(...emphasize(scan.parts));
  parent.normalize();
}

export function safeHref(target) {
  try {
    const url = new URL(target);
    return SAFE.has(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

// Cuts the text into parts: strings, finished nodes, and runs of `*`, `_`, `~` that may become emphasis.
class Scan {
  constructor(source) {
    this.source = source;
    this.at = 0;
    this.plain = "";
    this.parts = [];
    this.brackets = [];
    this.unclosed = new Set();
  }

  run() {
    while (this.at < this.source.length) {
      const step = STEPS[this.source[this.at]];
      if (!step || !step(this)) {
        this.plain += this.source[this.at];
        this.at += 1;
      }
    }
    this.flush();
  }

  flush() {
    if (this.plain) this.parts.push(this.plain);
    this.plain = "";
  }

  push(part, length) {
    this.flush();
    this.parts.push(part);
    this.at += length;
    return true;
  }

  match(pattern) {
    pattern.lastIndex = this.at;
    return pattern.exec(this.source);
  }
}

const STEPS = {
  "\\": escape,
  "`": code,
  "*": run,
  "_": run,
  "~": run,
  "\n": (scan) => scan.push(el("br"), 1),
  "!": (scan) => scan.source[scan.at + 1] === "[" && open(scan, 2),
  "[": (scan) => open(scan, 1),
  "]": close,
  "<": angle,
  h: bare,
};

// Parentheses and brackets keep their backslash, because models write formulas between them far more often than they escape.
function escape(scan) {
  const next = scan.source[scan.at + 1];
  if (next === undefined || !ESCAPABLE.includes(next)) return false;
  scan.plain += next;
  scan.at += 2;
  return true;
}

function code(scan) {
  const { source, at } = scan;
  const length = runLength(source, at);
  if (!scan.unclosed.has(length)) {
    for (let end = source.indexOf("`", at + length); end >= 0; ) {
      const found = runLength(source, end);
      if (found === length) {
        let text = source.slice(at + length, end).replaceAll("\n", " ");
        if (text.startsWith(" ") && text.endsWith(" ") && text.trim()) text = text.slice(1, -1);
        return scan.push(el("code", {}, text), end + length - at);
      }
      end = source.indexOf("`", end + found);
    }
    // What is not closed from here is not closed from further on either.
    scan.unclosed.add(length);
  }
  scan.plain += source.slice(at, at + length);
  scan.at += length;
  return true;
}

function runLength(source, at) {
  let end = at;
  while (source[end] === source[at]) end += 1;
  return end - at;
}

// Whether a run can open or close is CommonMark's rule of left- and right-flanking runs.
function run(scan) {
  const { source, at } = scan;
  const mark = source[at];
  const n = runLength(source, at);
  const [before, after] = [source[at - 1] ?? " ", source[at + n] ?? " "];
  const [spaceBefore, spaceAfter] = [/\s/.test(before), /\s/.test(after)];
  const [pointBefore, pointAfter] = [PUNCTUATION.test(before), PUNCTUATION.test(after)];
  const left = !spaceAfter && (!pointAfter || spaceBefore || pointBefore);
  const right = !spaceBefore && (!pointBefore || spaceAfter || pointAfter);
  const inWords = mark !== "_";
  const opens = left && (inWords || !right || pointBefore) && (mark !== "~" || n <= 2);
  const closes = right && (inWords || !left || pointAfter) && (mark !== "~" || n <= 2);
  return scan.push({ mark, n, opens, closes, length: n }, n);
}

function open(scan, length) {
  scan.flush();
  scan.brackets.push({ place: scan.parts.length, image: length === 2, live: true });
  return scan.push(length === 2 ? "![" : "[", length);
}

function close(scan) {
  const bracket = scan.brackets.pop();
  const target = bracket?.live && linkTarget(scan.source, scan.at + 1);
  if (!target) return false;
  scan.flush();
  const inside = scan.parts.splice(bracket.place);
  inside.shift();
  const content = emphasize(inside);
  if (!bracket.image) for (const outer of scan.brackets) outer.live = false;
  return scan.push(bracket.image ? picture(content, target.href) : link(content, target.href), target.end - scan.at);
}

// `(target "title")` from `at` on; the title is dropped.
function linkTarget(source, at) {
  if (source[at] !== "(") return null;
  let depth = 0;
  const last = Math.min(source.length, at + MAX_TARGET_LEN);
  for (let end = at; end < last; end += 1) {
    if (source[end] === "\n") return null;
    if (source[end] === "(") depth += 1;
    if (source[end] === ")") depth -= 1;
    if (depth === 0) {
      const href = source.slice(at + 1, end).trim().replace(/\s+["'(][^]*$/, "").replace(/^<|>$/g, "");
      return { href, end: end + 1 };
    }
  }
  return null;
}

function link(content, target) {
  const href = safeHref(target);
  if (!href) return el("span", { title: "This link leads nowhere safe and was left out." }, ...content);
  return el("a", { href, rel: "noopener noreferrer", target: "_blank" }, ...content);
}

// Only the words of the name, since pictures may stand inside of pictures without end.
function picture(content, target) {
  const name = content.map((part) => part.textContent ?? part).join("").slice(0, MAX_NAME_LEN);
  return link([`Image: ${name || "without a name"}`], target);
}

function angle(scan) {
  const found = scan.match(ANGLE_LINK);
  if (found) return scan.push(link([found[1].replace(/^mailto:/, "")], found[1]), found[0].length);
  const line = scan.match(BREAK);
  return line !== null && scan.push(el("br"), line[0].length);
}

function bare(scan) {
  if (/\w/.test(scan.source[scan.at - 1] ?? " ")) return false;
  const found = scan.match(BARE_LINK);
  if (!found) return false;
  const target = trimLink(found[0]);
  return safeHref(target) !== null && scan.push(link([target], target), target.length);
}

// Punctuation after an address belongs to the sentence, and so does a closing parenthesis that was not opened in it.
function trimLink(text) {
  let end = text.length;
  let surplus = text.split(")").length - text.split("(").length;
  for (; end > 0; end -= 1) {
    if (text[end - 1] === ")" && surplus > 0) surplus -= 1;
    else if (!".,;:!?*_~])".includes(text[end - 1]) || text[end - 1] === ")") break;
  }
  return text.slice(0, end);
}

// Turns pairs of runs into elements; runs that find no partner stay text.
function emphasize(parts) {
  const out = [];
  const openers = [];
  for (const part of parts) {
    if (!part.mark) {
      out.push(part);
      continue;
    }
    while (part.closes && part.n > 0) {
      const place = findOpener(openers, part);
      if (place < 0) break;
      closeWith(out, openers, place, part);
    }
    if (part.n === 0) continue;
    if (part.opens) openers.push({ run: part, place: out.length });
    out.push(part);
  }
  return out.map((part) => (part.mark ? part.mark.repeat(part.n) : part));
}

function findOpener(openers, closer) {
  for (let place = openers.length - 1; place >= Math.max(0, openers.length - MAX_OPENERS); place -= 1) {
    const { run: opener } = openers[place];
    if (opener.mark !== closer.mark) continue;
    if (closer.mark === "~" && opener.n !== closer.n) continue;
    const odd = (opener.closes || closer.opens) && (opener.length + closer.length) % 3 === 0;
    if (odd && (opener.length % 3 !== 0 || closer.length % 3 !== 0)) continue;
    return place;
  }
  return -1;
}

function closeWith(out, openers, place, closer) {
  const { run: opener, place: start } = openers[place];
  const used = Math.min(2, opener.n, closer.n);
  const inside = out.splice(start + 1).map((part) => (part.mark ? part.mark.repeat(part.n) : part));
  const depth = 1 + inside.reduce((most, part) => Math.max(most, part.depth ?? 0), 0);
  const tag = closer.mark === "~" ? "del" : used === 2 ? "strong" : "em";
  const node = depth > MAX_DEPTH ? flat(inside) : el(tag, {}, ...inside);
  node.depth = Math.min(depth, MAX_DEPTH);
  opener.n -= used;
  closer.n -= used;
  openers.length = opener.n > 0 ? place + 1 : place;
  if (opener.n === 0) out.pop();
  out.push(node);
}

function flat(inside) {
  return el("span", {}, inside.map((part) => part.textContent ?? part).join(""));
}
