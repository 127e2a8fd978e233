// A conversation as a file: JSON with everything in it, or Markdown for people.

import { el } from "./dom.js";

export function exportJson(conversation) {
  save(conversation, "json", "application/json", `${JSON.stringify(conversation, null, 2)}\n`);
}

export function exportMarkdown(conversation) {
  save(conversation, "md", "text/markdown", markdownOf(conversation));
}

function markdownOf({ title, system, messages }) {
  const parts = [`# ${title}`];
  if (system.trim()) parts.push(`**System prompt**\n\n${system.trim()}`);
  for (const { role, content, model } of messages) {
    parts.push(`## ${role === "user" ? "You" : model || "Answer"}`, content.trim());
  }
  return `${parts.join("\n\n")}\n`;
}

function save({ title, id }, extension, type, text) {
  const name = title.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").toLowerCase() || id;
  const href = URL.createObjectURL(new Blob([text], { type }));
  const link = el("a", { href, download: `${name}.${extension}` });
  document.body.append(link);
  link.click();
  link.remove();
  // The browser reads the file after the click, so its address lives a little longer.
  setTimeout(() => URL.revokeObjectURL(href), 10e3);
}
