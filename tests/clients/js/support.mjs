// What the JavaScript suites share: where the server is and which model it has.

export const URL_BASE = (process.env.SSD_LLM_URL ?? 'http://127.0.0.1:11434').replace(/\/+$/, '')
export const NO_SUCH_MODEL = 'no-such-model'
export const UNICODE_PROMPT = '🦀🦀🦀 漢字漢字 été été 🦀🦀🦀 漢字漢字 été été 🦀🦀🦀 漢字漢字'

const getJson = async (path, init) => (await fetch(URL_BASE + path, init)).json()

export const MODEL = process.env.SSD_LLM_MODEL ?? (await getJson('/api/tags')).models[0].name

const shown = await getJson('/api/show', { method: 'POST', body: JSON.stringify({ model: MODEL }) })
export const HAS_TOOLS = (shown.capabilities ?? []).includes('tools')

export const post = (path, body) =>
  getJson(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })

export const promptTokens = async (messages) => {
  const { prompt } = await post('/apply-template', { messages })
  return (await post('/tokenize', { content: prompt })).tokens.length
}

// A slot that stays taken after its client has gone is a failure.
export const waitUntilIdle = async (seconds = 30) => {
  const end = Date.now() + 1000 * seconds
  for (;;) {
    const text = await (await fetch(`${URL_BASE}/metrics`)).text()
    const value = (name) => Number(text.match(new RegExp(`^ssd_llm_requests_${name} (\\S+)$`, 'm'))[1])
    if (value('prefilling') + value('decoding') + value('queued') === 0) return
    if (Date.now() > end) throw new Error(`still busy after ${seconds} s`)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

export const collect = async (iterable) => {
  const items = []
  for await (const item of iterable) items.push(item)
  return items
}

// Bounded on purpose: a small model may otherwise write one string for ever.
export const FROG_SCHEMA = {
  type: 'object',
  properties: { colour: { type: 'string', enum: ['red', 'green', 'blue'] }, alive: { type: 'boolean' } },
  required: ['colour', 'alive'],
  additionalProperties: false,
}

export const WEATHER_PARAMETERS = {
  type: 'object',
  properties: { city: { type: 'string' } },
  required: ['city'],
}
