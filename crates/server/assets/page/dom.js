// Builds DOM nodes. Text only ever becomes a text node, so nothing that a model or a server writes can turn into markup.

const SVG = "http://www.w3.org/2000/svg";

// Makes an element: `on` holds listeners, `data` data attributes, every other property becomes an attribute.
export function el(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

export function svg(tag, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

export const $ = (id) => document.getElementById(id);

// Assigns only what differs, so that an unchanged text costs no layout and a reader's selection in it stays.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function fill(node, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    else if (name === "data") Object.assign(node.dataset, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

// Says something to screen readers once. The text is cleared first, so that the same words are read again the next time.
export function announce(text) {
  const announcer = $("announcer");
  announcer.textContent = "";
  setTimeout(() => { announcer.textContent = text; }, 50);
}

// Copies text. The clipboard's interface exists only on https and localhost; elsewhere a selection is copied the old way.
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const before = document.activeElement;
    const area = el("textarea", { class: "hidden", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    before?.focus();
    return copied;
  }
}

// A button that copies what `text()` gives and says on its face whether that worked.
export function copyButton(name, text) {
  const button = el("button", { type: "button", class: "link", "aria-label": name }, "Copy");
  button.addEventListener("click", async () => {
    const done = (await copyText(text())) ? "Copied" : "Cannot copy here";
    button.textContent = done;
    announce(done);
    setTimeout(() => { button.textContent = "Copy"; }, 1600);
  });
  return button;
}
