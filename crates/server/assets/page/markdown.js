// Markdown as DOM nodes, made for text that is still being written.
//
// `MarkdownView` keeps the blocks that later text cannot change and redoes only the last one or two, so a long answer costs
// about as much a token as a short one. A fence that is not closed yet is code up to the end; code grows in place.
// Left out on purpose: HTML (it is shown as text), footnotes, headings by underlining and code by indentation, which would
// flicker while a text is written. A line break stays a line break, since models write poems and addresses that way.

import { copyButton, el } from "./dom.js";
import { renderInline } from "./inline.js";

// Lists and quotes nested deeper than this are text; a hostile text must not exhaust the stack.
const MAX_DEPTH = 12;
const FENCE = /^( {0,3})(`{3,}|~{3,})([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]|$)/;
const RULE = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const QUOTE = /^ {0,3}> ?/;
const UNDECIDED = /^\s{0,8}(?:[-+*_>|]|[-*_`~]{2}|[`~]|#{1,6}|\d{1,9}[.)]?)$/;
const MARKER = /^( *)([-+*]|\d{1,9}[.)])(?= |$)/;

export class MarkdownView {
  constructor(root) {
    this.root = root;
    this.clear();
  }

  clear() {
    this.root.replaceChildren();
    this.text = "";
    this.from = 0;
    this.tail = [];
  }

  // Shows a text that is still being written: when it continues what was shown, only what can have changed is redone.
  // A last line that may yet become anything, such as a lone `-`, is held back, or it would flicker from one to the next.
  grow(text) {
    const start = text.lastIndexOf("\n") + 1;
    this.finish(UNDECIDED.test(text.slice(start)) ? text.slice(0, start) : text);
  }

  // Shows a whole text.
  finish(text) {
    if (text === this.text) return;
    if (!text.startsWith(this.text)) this.clear();
    this.text = text;
    const open = text.slice(this.from);
    const lines = open.split("\n");
    const blocks = parse(lines, 0);
    const shown = this.tail;
    this.tail = blocks.map((block, place) => reuse(shown[place], block) ?? this.place(shown[place], block));
    for (const surplus of shown.slice(blocks.length)) surplus.node.remove();
    this.settle(lines);
  }

  place(old, block) {
    const node = render(block);
    if (old) old.node.replaceWith(node);
    else this.root.append(node);
    return { block, node };
  }

  // The last block stays open, and so does the one before it while the last one is but the beginning of a line: `#` may
  // become a heading or go on as `#5`, which belongs to the paragraph before.
  settle(lines) {
    const last = this.tail.length - 1;
    if (last < 1) return;
    const first = this.tail[last].block.line === lines.length - 1 ? last - 1 : last;
    const line = this.tail[first].block.line;
    for (let place = 0; place < line; place += 1) this.from += lines[place].length + 1;
    this.tail = this.tail.slice(first);
    for (const part of this.tail) part.block.line -= line;
  }
}

// A node that is shown already and fits: the same source, or code that has grown.
function reuse(old, block) {
  if (!old) return null;
  if (old.block.source === block.source) return { block, node: old.node };
  const same = old.block.kind === "code" && block.kind === "code" && old.block.label === block.label;
  if (!same || !block.text.startsWith(old.block.text)) return null;
  const code = old.node.querySelector("code");
  const grown = block.text.slice(old.block.text.length);
  if (code.firstChild) code.firstChild.appendData(grown);
  else code.append(grown);
  return { block, node: old.node };
}

// Cuts lines into blocks, each with its first line and its source.
function parse(lines, depth) {
  const blocks = [];
  let at = 0;
  while (at < lines.length) {
    if (isBlank(lines[at])) {
      at += 1;
      continue;
    }
    const block = codeBlock(lines, at) ?? heading(lines, at) ?? rule(lines, at) ?? quote(lines, at, depth) ??
      list(lines, at, depth) ?? table(lines, at) ?? paragraph(lines, at);
    block.line = at;
    block.source = lines.slice(at, block.end).join("\n");
    at = block.end;
    blocks.push(block);
  }
  return blocks;
}

const isBlank = (line) => line.trim() === "";

function codeBlock(lines, at) {
  const opening = FENCE.exec(lines[at]);
  if (!opening) return null;
  const [, indent, fence, label] = opening;
  const text = [];
  let end = at + 1;
  for (; end < lines.length; end += 1) {
    if (closes(lines[end], fence)) {
      end += 1;
      break;
    }
    text.push(unindent(lines[end], indent.length));
  }
  return { kind: "code", end, label: label.trim().split(/[\s{:]/)[0].slice(0, 40), text: text.join("\n") };
}

function closes(line, fence) {
  const text = line.trim();
  return text.length >= fence.length && text === fence[0].repeat(text.length);
}

function heading(lines, at) {
  const found = HEADING.exec(lines[at]);
  if (!found) return null;
  const text = lines[at].trim().slice(found[1].length).trim();
  let length = text.length;
  while (text[length - 1] === "#") length -= 1;
  const bare = text.slice(0, length);
  return { kind: "heading", end: at + 1, level: found[1].length, text: bare === "" || /\s$/.test(bare) ? bare.trim() : text };
}

function rule(lines, at) {
  return RULE.test(lines[at]) ? { kind: "rule", end: at + 1 } : null;
}

function quote(lines, at, depth) {
  if (depth >= MAX_DEPTH || !QUOTE.test(lines[at])) return null;
  const inner = [];
  let end = at;
  for (; end < lines.length; end += 1) {
    if (QUOTE.test(lines[end])) inner.push(lines[end].replace(QUOTE, ""));
    else if (isBlank(lines[end]) || isBlank(inner.at(-1)) || interrupts(lines[end])) break;
    else inner.push(lines[end]);
  }
  return { kind: "quote", end, blocks: parse(inner, depth + 1) };
}

// A list's items are its lines from one marker to the next. Two spaces nest, where CommonMark asks for as many as the
// marker is wide: models write two below `1.` too.
function list(lines, at, depth) {
  const first = depth < MAX_DEPTH && marker(lines[at]);
  if (!first) return null;
  const items = [];
  let loose = false;
  let end = at;
  while (end < lines.length) {
    const found = marker(lines[end]);
    if (!found || found.kind !== first.kind || (items.length > 0 && found.indent >= first.indent + 2)) break;
    if (items.length > 0 && found.kind === "bullet" && RULE.test(lines[end])) break;
    const item = listItem(lines, end, found);
    items.push(parse(item.lines, depth + 1));
    loose ||= item.loose || (isBlank(lines[item.end - 1]) && nextIs(lines, item.end, first));
    end = item.end;
  }
  while (end > at + 1 && isBlank(lines[end - 1])) end -= 1;
  return { kind: "list", end, ordered: first.kind !== "bullet", start: first.start, items, loose };
}

function marker(line) {
  const text = line.replace(/^\t+/, (tabs) => "    ".repeat(tabs.length));
  const found = MARKER.exec(text);
  if (!found) return null;
  const [all, spaces, sign] = found;
  const kind = sign.length === 1 ? "bullet" : sign.at(-1);
  const after = text.slice(all.length);
  const gap = after.length - after.trimStart().length;
  const width = all.length + (gap >= 1 && gap <= 4 && !isBlank(after) ? gap : 1);
  return { kind, indent: spaces.length, width, start: parseInt(sign, 10), text: text.slice(width), empty: isBlank(after) };
}

function listItem(lines, at, { indent, width, text }) {
  const inner = [text];
  let fence = FENCE.exec(text)?.[2];
  let loose = false;
  let end = at + 1;
  for (; end < lines.length; end += 1) {
    const line = lines[end].replace(/^\t+/, (tabs) => "    ".repeat(tabs.length));
    if (isBlank(line)) {
      inner.push("");
      continue;
    }
    const own = line.length - line.trimStart().length;
    const afterBlank = end > at + 1 && isBlank(lines[end - 1]);
    // Blank lines inside of code say nothing about the list around it.
    if (own >= Math.min(width, indent + 2)) loose ||= afterBlank && !fence;
    else if (afterBlank || interrupts(line) || marker(line)) break;
    inner.push(unindent(line, width));
    if (fence) fence = closes(inner.at(-1), fence) ? null : fence;
    else fence = FENCE.exec(inner.at(-1))?.[2];
  }
  return { lines: inner, end, loose };
}

function nextIs(lines, at, first) {
  const found = at < lines.length && marker(lines[at]);
  return found && found.kind === first.kind && found.indent < first.indent + 2;
}

function unindent(line, most) {
  let n = 0;
  while (n < most && line[n] === " ") n += 1;
  return line.slice(n);
}

function table(lines, at) {
  if (!lines[at].includes("|") || at + 1 >= lines.length) return null;
  const align = delimiters(lines[at + 1]);
  const head = cells(lines[at]);
  if (!align || align.length !== head.length) return null;
  const rows = [];
  let end = at + 2;
  for (; end < lines.length && !isBlank(lines[end]) && !interrupts(lines[end]); end += 1) rows.push(cells(lines[end]));
  return { kind: "table", end, align, head, rows };
}

function delimiters(line) {
  if (!line.includes("-") || !/^[\s|:-]+$/.test(line)) return null;
  const parts = cells(line);
  if (!parts.every((part) => /^:?-+:?$/.test(part))) return null;
  return parts.map((part) => {
    if (part.endsWith(":")) return part.startsWith(":") ? "center" : "end";
    return "start";
  });
}

function cells(line) {
  let text = line.trim();
  if (text.startsWith("|")) text = text.slice(1);
  if (text.endsWith("|") && !text.endsWith("\\|")) text = text.slice(0, -1);
  return text.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function paragraph(lines, at) {
  let end = at + 1;
  while (end < lines.length && !isBlank(lines[end]) && !interrupts(lines[end]) && !table(lines, end)) end += 1;
  const text = lines.slice(at, end).map((line) => line.trim().replace(/\\$/, "")).join("\n");
  return { kind: "paragraph", end, text };
}

// What begins a block in the middle of a paragraph. A number does so only as 1, or `It was in\n1999. Then` were a list.
function interrupts(line) {
  if (FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line)) return true;
  const found = marker(line);
  return Boolean(found && !found.empty && (found.kind === "bullet" || found.start === 1));
}

const RENDER = {
  code: renderCode,
  heading: ({ level, text }) => inlineIn(`h${Math.min(level + 2, 6)}`, text),
  rule: () => el("hr"),
  quote: ({ blocks }) => el("blockquote", {}, ...blocks.map(render)),
  list: renderList,
  table: renderTable,
  paragraph: ({ text }) => inlineIn("p", text),
};

function render(block) {
  return RENDER[block.kind](block);
}

function inlineIn(tag, text, properties) {
  const node = el(tag, properties);
  renderInline(text, node);
  return node;
}

function renderCode({ label, text }) {
  const code = el("code", {}, text);
  const name = label ? `Code in ${label}` : "Code";
  const copy = copyButton(`Copy this code${label ? ` in ${label}` : ""}`, () => code.textContent);
  const head = el("div", { class: "code-head" }, el("span", {}, label || "code"), copy);
  return el("div", { class: "code" }, head, el("pre", { tabindex: "0", role: "group", "aria-label": name }, code));
}

function renderList({ ordered, start, items, loose }) {
  const list = ordered ? el("ol", { start: start === 1 ? null : start }) : el("ul");
  list.append(...items.map((blocks) => renderItem(blocks, loose)));
  return list;
}

function renderItem(blocks, loose) {
  const item = el("li");
  for (const block of blocks) {
    if (loose || block.kind !== "paragraph") item.append(render(block));
    else renderInline(block.text, item);
  }
  return item;
}

function renderTable({ align, head, rows }) {
  const cell = (tag, place, text, scope) => inlineIn(tag, text ?? "", { scope, class: `to-${align[place]}` });
  const headRow = el("tr", {}, ...head.map((text, place) => cell("th", place, text, "col")));
  const body = rows.map((row) => el("tr", {}, ...head.map((_, place) => cell("td", place, row[place]))));
  const whole = el("table", {}, el("thead", {}, headRow), el("tbody", {}, ...body));
  return el("div", { class: "table", tabindex: "0", role: "group", "aria-label": "Table" }, whole);
}
