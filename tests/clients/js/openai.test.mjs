// openai-node: models, chat, completions, embeddings and responses, with its helpers and error classes.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import OpenAI from 'openai'
import { zodResponseFormat, zodTextFormat } from 'openai/helpers/zod'
import { z } from 'zod'
import * as support from './support.mjs'
import { collect, FROG_SCHEMA, HAS_TOOLS, MODEL, NO_SUCH_MODEL, UNICODE_PROMPT } from './support.mjs'

const client = new OpenAI({ baseURL: `${support.URL_BASE}/v1`, apiKey: 'unused', maxRetries: 0 })
const messages = [{ role: 'user', content: 'Say hello.' }]
const greedy = { model: MODEL, temperature: 0, max_tokens: 12 }
const response = { model: MODEL, input: 'Say hello.', temperature: 0, max_output_tokens: 48 }
const Frog = z.object({ alive: z.boolean(), legs: z.number().int().min(0).max(9) })
const textOf = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? '').join('')

test('models', async () => {
  const ids = (await collect(client.models.list())).map((model) => model.id)
  assert.ok(ids.length > 0)
  assert.equal((await client.models.retrieve(MODEL)).object, 'model')
  await assert.rejects(client.models.retrieve(NO_SUCH_MODEL), OpenAI.NotFoundError)
})

test('chat', async () => {
  const answer = await client.chat.completions.create({ ...greedy, messages })
  assert.match(answer.id, /^chatcmpl-/)
  assert.equal(answer.object, 'chat.completion')
  assert.ok(answer.choices[0].message.content)
  assert.equal(answer.usage.prompt_tokens, await support.promptTokens(messages))
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)
})

test('chat streams the same text', async () => {
  const whole = await client.chat.completions.create({ ...greedy, messages })
  const chunks = await collect(await client.chat.completions.create({ ...greedy, messages, stream: true }))
  assert.equal(textOf(chunks), whole.choices[0].message.content)
  assert.equal(chunks[0].choices[0].delta.role, 'assistant')
  assert.ok(chunks.slice(0, -1).every((chunk) => chunk.choices[0].finish_reason === null))
  assert.equal(chunks.at(-1).choices[0].finish_reason, whole.choices[0].finish_reason)
  assert.ok(chunks.every((chunk) => !chunk.usage))
})

test('chat stream usage on request', async () => {
  const chunks = await collect(
    await client.chat.completions.create({ ...greedy, messages, stream: true, stream_options: { include_usage: true } }),
  )
  assert.deepEqual(chunks.at(-1).choices, [])
  assert.ok(chunks.at(-1).usage.total_tokens > 0)
})

test('chat stream helper', async () => {
  const runner = client.chat.completions.stream({ ...greedy, max_tokens: 64, messages })
  let text = ''
  runner.on('content', (delta) => (text += delta))
  const final = await runner.finalChatCompletion()
  assert.equal(final.choices[0].message.content, text)
})

test('chat parse', async () => {
  const answer = await client.chat.completions.parse({
    ...greedy,
    max_tokens: 100,
    messages,
    response_format: zodResponseFormat(Frog, 'frog'),
  })
  assert.equal(typeof answer.choices[0].message.parsed.alive, 'boolean')
})

test('chat json schema', async () => {
  const answer = await client.chat.completions.create({
    ...greedy,
    max_tokens: 100,
    messages,
    response_format: { type: 'json_schema', json_schema: { name: 'frog', schema: FROG_SCHEMA, strict: true } },
  })
  assert.deepEqual(Object.keys(JSON.parse(answer.choices[0].message.content)).sort(), ['alive', 'colour'])
})

test('chat logprobs', async () => {
  const answer = await client.chat.completions.create({ ...greedy, messages, logprobs: true, top_logprobs: 2 })
  assert.equal(answer.choices[0].logprobs.content.length, answer.usage.completion_tokens)
  assert.ok(answer.choices[0].logprobs.content.every((entry) => entry.top_logprobs.length === 2))
})

test('tools without a template for them are told in words', { skip: HAS_TOOLS }, async () => {
  const tools = [{ type: 'function', function: { name: 'f', parameters: support.WEATHER_PARAMETERS } }]
  const wanted = { ...greedy, messages, tools, tool_choice: 'required', max_tokens: 200 }
  const [choice] = (await client.chat.completions.create(wanted)).choices
  if (choice.finish_reason !== 'tool_calls') return assert.equal(choice.finish_reason, 'length')
  assert.equal(choice.message.tool_calls[0].function.name, 'f')
  assert.equal(typeof JSON.parse(choice.message.tool_calls[0].function.arguments), 'object')
})

test('errors by class', async () => {
  await assert.rejects(client.chat.completions.create({ model: NO_SUCH_MODEL, messages }), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError)
    assert.equal(error.type, 'not_found_error')
    assert.match(error.message, /no-such-model/)
    return true
  })
  await assert.rejects(client.chat.completions.create({ ...greedy, messages: [] }), OpenAI.BadRequestError)
  await assert.rejects(client.chat.completions.create({ ...greedy, messages, temperature: 'hot' }), OpenAI.BadRequestError)
})

test('completions', async () => {
  const request = { ...greedy, prompt: '1, 2, 3, 4, 5,' }
  const whole = await client.completions.create(request)
  const chunks = await collect(await client.completions.create({ ...request, stream: true }))
  assert.equal(chunks.map((chunk) => chunk.choices[0].text).join(''), whole.choices[0].text)
  assert.equal((await client.completions.create({ ...request, prompt: ['a', 'b'] })).choices.length, 2)
})

test('embeddings default to base64 and are decoded', async () => {
  const one = await client.embeddings.create({ model: MODEL, input: 'Hello world' })
  const float = await client.embeddings.create({ model: MODEL, input: ['Hello world'], encoding_format: 'float' })
  assert.equal(typeof one.data[0].embedding[0], 'number')
  assert.equal(one.data[0].embedding.length, float.data[0].embedding.length)
  assert.ok(Math.abs(one.data[0].embedding[0] - float.data[0].embedding[0]) < 1e-4)
})

test('responses', async () => {
  const answer = await client.responses.create(response)
  assert.equal(answer.status, 'completed')
  assert.ok(answer.output_text)
  const events = await collect(await client.responses.create({ ...response, stream: true }))
  assert.deepEqual(
    [...new Set(events.map((event) => event.type))],
    [
      'response.created',
      'response.in_progress',
      'response.output_item.added',
      'response.content_part.added',
      'response.output_text.delta',
      'response.output_text.done',
      'response.content_part.done',
      'response.output_item.done',
      'response.completed',
    ],
  )
  const text = events.filter((event) => event.type === 'response.output_text.delta').map((event) => event.delta)
  assert.equal(text.join(''), answer.output_text)
})

test('responses stream helper', async () => {
  const stream = client.responses.stream(response)
  const final = await stream.finalResponse()
  assert.ok(final.output_text)
})

test('responses parse', async () => {
  const answer = await client.responses.parse({
    ...response,
    max_output_tokens: 100,
    text: { format: zodTextFormat(Frog, 'frog') },
  })
  assert.equal(typeof answer.output_parsed.alive, 'boolean')
})

test('an aborted stream frees its slot', async () => {
  const stream = await client.chat.completions.create({ ...greedy, max_tokens: 2000, temperature: 2, messages, stream: true })
  for await (const _ of stream) break
  const controller = new AbortController()
  const waiting = client.chat.completions.create({ ...greedy, max_tokens: 2000, temperature: 2, messages }, { signal: controller.signal })
  setTimeout(() => controller.abort(), 200)
  await assert.rejects(waiting, OpenAI.APIUserAbortError)
  await support.waitUntilIdle()
})

test('streams never split a character', async () => {
  const request = { ...greedy, prompt: UNICODE_PROMPT, temperature: 0.7, seed: 5, max_tokens: 60 }
  const whole = await client.completions.create(request)
  const texts = (await collect(await client.completions.create({ ...request, stream: true }))).map((c) => c.choices[0].text)
  assert.equal(texts.join(''), whole.choices[0].text)
  assert.ok(texts.every((text) => !text.includes('\ufffd')))
})
