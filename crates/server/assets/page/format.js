// Numbers and times in words, the same everywhere on the page.

const fixed = (digits) => new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const DIGITS = [fixed(0), fixed(1), fixed(2)];

// A finite number or nothing: whatever a server of another version leaves out must not break the page.
export const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);

export const count = (value) => (number(value) === null ? "–" : DIGITS[0].format(value));

// Three digits or so, which is what a rate is worth.
export function rate(value) {
  if (number(value) === null) return "–";
  return DIGITS[value >= 100 ? 0 : value >= 10 || value === 0 ? 1 : 2].format(value);
}

export function percent(share) {
  return number(share) === null ? "–" : `${DIGITS[0].format(share * 100)}%`;
}

// Memory, in the binary units that --memory-budget takes.
export function bytes(value) {
  if (number(value) === null) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? count(value) : rate(value)} ${units[unit]}`;
}

// Disks are sold in decimal units, so rates are in them.
export const gigabytes = (value) => (number(value) === null ? "–" : DIGITS[2].format(value / 1e9));

export function parameters(value) {
  if (number(value) === null) return "–";
  const [size, unit] = value >= 1e9 ? [value / 1e9, "B"] : [value / 1e6, "M"];
  return `${DIGITS[size >= 100 || size % 1 === 0 ? 0 : 1].format(size)}${unit}`;
}

export function seconds(ms) {
  if (number(ms) === null) return "–";
  if (ms < 9950) return `${DIGITS[ms < 995 ? 2 : 1].format(ms / 1000)} s`;
  if (ms < 60e3) return `${DIGITS[0].format(ms / 1000)} s`;
  const total = Math.round(ms / 1000);
  const [h, m, s] = [Math.floor(total / 3600), Math.floor(total / 60) % 60, total % 60];
  return h ? `${h} h ${m} min` : `${m} min ${s} s`;
}

export function ago(time) {
  const day = 24 * 3600e3;
  const date = new Date(time);
  const today = new Date();
  if (date.toDateString() === today.toDateString()) {
    return date.toLocaleTimeString("en", { hour: "2-digit", minute: "2-digit", hour12: false });
  }
  if (today - date < 6 * day) return date.toLocaleDateString("en", { weekday: "short" });
  return date.toLocaleDateString("en", { day: "numeric", month: "short", year: today - date > 300 * day ? "numeric" : undefined });
}
