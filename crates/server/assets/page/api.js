// Talks to the server: Ollama's /api/tags and /api/chat, and /stats of this engine.
//
// Addresses are relative, so the page works behind a proxy that serves it under a path. What goes wrong becomes an
// `ApiError` whose `kind` says what the page can do about it: "away" (try again later), "key" (ask for a key),
// "refused" (the server said why).

const KEY = "ssd-llm.key";
const QUESTION_MS = 10e3;
// Error texts are shown, so a server (or a proxy before it) that answers with a whole page is cut short.
const MAX_ERROR_LEN = 600;

export class ApiError extends Error {
  constructor(kind, message) {
    super(message);
    this.kind = kind;
  }
}

export function setKey(key) {
  try {
    sessionStorage.setItem(KEY, key);
  } catch {
    // The key then lives as long as this page.
  }
  memoryKey = key;
}

let memoryKey = null;

function key() {
  try {
    return memoryKey ?? sessionStorage.getItem(KEY);
  } catch {
    return memoryKey;
  }
}

export async function tags() {
  const body = await question("api/tags");
  return Array.isArray(body?.models) ? body.models.filter((model) => typeof model?.name === "string") : [];
}

export const stats = () => question("stats");

// Asks for an answer and yields the lines that come, parsed. Aborting the signal ends the computation on the server too.
export async function* chat(body, signal) {
  const response = await request("api/chat", { method: "POST", body: JSON.stringify(body), signal }, { "Content-Type": "application/json" });
  for await (const line of lines(response.body)) {
    const value = parse(line);
    if (typeof value.error === "string") throw new ApiError("refused", value.error.slice(0, MAX_ERROR_LEN));
    yield value;
  }
}

async function question(path) {
  const response = await request(path, { signal: AbortSignal.timeout(QUESTION_MS), cache: "no-store" });
  try {
    return await response.json();
  } catch {
    throw new ApiError("away", "What answers is not this server.");
  }
}

async function request(path, options, headers = {}) {
  const held = key();
  if (held) headers.Authorization = `Bearer ${held}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("away", "The server cannot be reached.");
  }
  if (response.ok) return response;
  if (response.status === 401) throw new ApiError("key", held ? "The server does not accept this key." : "The server wants a key.");
  throw new ApiError([502, 504].includes(response.status) ? "away" : "refused", await errorText(response));
}

async function errorText(response) {
  const text = await response.text().catch(() => "");
  let said = text;
  try {
    const { error } = JSON.parse(text);
    if (typeof error === "string") said = error;
    else if (typeof error?.message === "string") said = error.message;
  } catch {
    // Whatever came is shown as it is.
  }
  return said.trim().slice(0, MAX_ERROR_LEN) || `The server answers with status ${response.status}.`;
}

async function* lines(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const parts = (rest + value).split("\n");
      rest = parts.pop();
      for (const part of parts) if (part.trim()) yield part;
    }
    if (rest.trim()) yield rest;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("away", "The server went away in the middle of the answer.");
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parse(line) {
  try {
    const value = JSON.parse(line);
    if (value && typeof value === "object") return value;
  } catch {
    // Falls through to the error below.
  }
  throw new ApiError("refused", "The server sent a line that is not JSON.");
}
