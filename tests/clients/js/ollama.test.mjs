// ollama-js: every call it documents for a local server, streaming and not.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Ollama } from 'ollama'
import * as support from './support.mjs'
import { collect, FROG_SCHEMA, HAS_TOOLS, MODEL, NO_SUCH_MODEL, UNICODE_PROMPT } from './support.mjs'

const client = new Ollama({ host: support.URL_BASE })
const options = { temperature: 0, num_predict: 12 }
const hello = () => [{ role: 'user', content: 'Say hello.' }]
const rejectsWith = (status, pattern) => (error) => {
  assert.equal(error.status_code, status)
  assert.match(error.error, pattern)
  return true
}

test('version', async () => {
  assert.match((await client.version()).version, /^\d+\.\d+\.\d+/)
})

test('list', async () => {
  const { models } = await client.list()
  assert.ok(models.length > 0)
  for (const model of models) {
    assert.match(model.name, /:/)
    assert.equal(model.name, model.model)
    assert.match(model.digest, /^[0-9a-f]{64}$/)
    assert.ok(Number.isInteger(model.size) && !Number.isNaN(Date.parse(model.modified_at)))
    assert.equal(model.details.format, 'gguf')
  }
})

test('show', async () => {
  const shown = await client.show({ model: MODEL })
  assert.ok(shown.capabilities.includes('completion'))
  assert.ok(shown.model_info['general.architecture'])
  assert.equal(typeof shown.template, 'string')
})

test('show of an unknown model is 404', async () => {
  await assert.rejects(client.show({ model: NO_SUCH_MODEL }), rejectsWith(404, /not found/))
})

test('ps', async () => {
  await client.generate({ model: MODEL, prompt: 'Hi', options })
  const { models } = await client.ps()
  assert.equal(models.length, 1)
  assert.ok(Date.parse(models[0].expires_at) > Date.now())
})

test('generate', async () => {
  const answer = await client.generate({ model: MODEL, prompt: 'Say hello.', options })
  assert.ok(answer.response && answer.done && answer.context.length > 0)
  assert.ok(answer.eval_count > 0 && answer.total_duration > 0)
  assert.match(answer.done_reason, /^(stop|length)$/)
})

test('generate streams the same text', async () => {
  const request = { model: MODEL, prompt: 'Tell me a story.', options: { temperature: 0.9, seed: 42, num_predict: 16 } }
  const whole = await client.generate({ ...request })
  const parts = await collect(await client.generate({ ...request, stream: true }))
  assert.equal(parts.map((part) => part.response).join(''), whole.response)
  assert.deepEqual(parts.map((part) => part.done), parts.map((_, i) => i === parts.length - 1))
  assert.equal(parts.at(-1).eval_count, whole.eval_count)
})

test('generate raw, system and context', async () => {
  const raw = await client.generate({ model: MODEL, prompt: 'The capital of France is', raw: true, options })
  assert.ok(raw.response && raw.context === undefined)
  const first = await client.generate({ model: MODEL, prompt: 'I am Ada.', system: 'Be brief.', options })
  const second = await client.generate({ model: MODEL, prompt: 'Who am I?', context: first.context, options })
  assert.ok(second.prompt_eval_count > first.prompt_eval_count)
})

test('generate with a format', async () => {
  const answer = await client.generate({
    model: MODEL,
    prompt: 'A frog.',
    format: FROG_SCHEMA,
    options: { temperature: 0, num_predict: 100 },
  })
  assert.deepEqual(Object.keys(JSON.parse(answer.response)).sort(), ['alive', 'colour'])
})

test('generate with a wrong format is 400', async () => {
  await assert.rejects(client.generate({ model: MODEL, prompt: 'Hi', format: 'xml' }), rejectsWith(400, /invalid format/))
})

test('chat', async () => {
  const answer = await client.chat({ model: MODEL, messages: hello(), options })
  assert.equal(answer.message.role, 'assistant')
  assert.ok(answer.message.content)
  assert.equal(answer.prompt_eval_count, await support.promptTokens(hello()))
})

test('chat streams the same text', async () => {
  const whole = await client.chat({ model: MODEL, messages: hello(), options })
  const parts = await collect(await client.chat({ model: MODEL, messages: hello(), options, stream: true }))
  assert.equal(parts.map((part) => part.message.content).join(''), whole.message.content)
  assert.ok(parts.every((part) => part.message.role === 'assistant'))
  assert.ok(parts.at(-1).done && parts.at(-1).total_duration > 0)
})

test('chat with logprobs', async () => {
  const answer = await client.chat({ model: MODEL, messages: hello(), options, logprobs: true, top_logprobs: 2 })
  assert.ok(answer.logprobs.every((entry) => entry.logprob <= 0 && entry.top_logprobs.length === 2))
})

test('chat without messages loads', async () => {
  assert.equal((await client.chat({ model: MODEL, messages: [] })).done_reason, 'load')
})

test('tools without a template for them is 400', { skip: HAS_TOOLS }, async () => {
  const tool = { type: 'function', function: { name: 'f', description: '', parameters: support.WEATHER_PARAMETERS } }
  for (const stream of [false, true]) {
    await assert.rejects(
      client.chat({ model: MODEL, messages: hello(), tools: [tool], stream }),
      rejectsWith(400, /does not support tools/),
    )
  }
})

test('unknown model is 404 with the text of the reference', async () => {
  for (const stream of [false, true]) {
    await assert.rejects(
      client.chat({ model: NO_SUCH_MODEL, messages: hello(), stream }),
      rejectsWith(404, new RegExp(`^model '${NO_SUCH_MODEL}' not found$`)),
    )
  }
})

test('embed', async () => {
  const { embeddings } = await client.embed({ model: MODEL, input: ['Hello world', 'Something else'] })
  assert.equal(embeddings.length, 2)
  const norm = Math.hypot(...embeddings[0])
  assert.ok(Math.abs(norm - 1) < 1e-3)
})

test('embeddings, the old call', async () => {
  assert.ok((await client.embeddings({ model: MODEL, prompt: 'Hello world' })).embedding.length > 0)
  assert.deepEqual((await client.embeddings({ model: MODEL, prompt: '' })).embedding, [])
})

test('pull of the model that is there', async () => {
  assert.equal((await client.pull({ model: MODEL })).status, 'success')
  const parts = await collect(await client.pull({ model: MODEL, stream: true }))
  assert.equal(parts.at(-1).status, 'success')
})

test('pull of an unknown model throws', async () => {
  await assert.rejects(async () => collect(await client.pull({ model: NO_SUCH_MODEL, stream: true })))
})

test('copy and delete of an unknown model are 404', async () => {
  await assert.rejects(client.copy({ source: NO_SUCH_MODEL, destination: 'x' }), rejectsWith(404, /not found/))
  await assert.rejects(client.delete({ model: NO_SUCH_MODEL }), rejectsWith(404, /not found/))
})

test('create from nothing is 400', async () => {
  await assert.rejects(client.create({ model: 'x' }), rejectsWith(400, /neither 'from' or 'files' was specified/))
})

test('an aborted iterator frees its slot', async () => {
  const stream = await client.generate({
    model: MODEL,
    prompt: 'Write a very long story.',
    options: { num_predict: 2000 },
    stream: true,
  })
  await assert.rejects(async () => {
    for await (const _ of stream) stream.abort()
  }, /abort/i)
  await support.waitUntilIdle()
})

test('client.abort() ends all streams', async () => {
  const own = new Ollama({ host: support.URL_BASE })
  const start = () => own.generate({ model: MODEL, prompt: 'A very long story.', options: { num_predict: 2000 }, stream: true })
  const streams = await Promise.all([start(), start()])
  const ends = streams.map((stream) => assert.rejects(collect(stream), /abort/i))
  own.abort()
  await Promise.all(ends)
  await support.waitUntilIdle()
})

test('streams never split a character', async () => {
  const request = { model: MODEL, prompt: UNICODE_PROMPT, raw: true, options: { temperature: 0.7, seed: 5, num_predict: 60 } }
  const whole = await client.generate({ ...request })
  const parts = await collect(await client.generate({ ...request, stream: true }))
  assert.equal(parts.map((part) => part.response).join(''), whole.response)
  assert.ok(parts.every((part) => !part.response.includes('\ufffd')))
})

test('many at once answer as one alone', async () => {
  const ask = (n) => client.generate({ model: MODEL, prompt: `Tell me about the number ${n}.`, options })
  const alone = []
  for (let n = 0; n < 8; n++) alone.push((await ask(n)).response)
  const together = await Promise.all([...Array(8).keys()].map(ask))
  assert.deepEqual(together.map((answer) => answer.response), alone)
})

test('the browser build answers too', async () => {
  const { Ollama: BrowserOllama } = await import('ollama/browser')
  const browser = new BrowserOllama({ host: support.URL_BASE })
  assert.ok((await browser.chat({ model: MODEL, messages: hello(), options })).message.content)
})
