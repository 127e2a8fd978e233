// The Anthropic SDK for TypeScript: messages, the stream helper, token counting, errors by class.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import Anthropic from '@anthropic-ai/sdk'
import * as support from './support.mjs'
import { collect, HAS_TOOLS, MODEL, NO_SUCH_MODEL } from './support.mjs'

const client = new Anthropic({ baseURL: support.URL_BASE, apiKey: 'unused', maxRetries: 0 })
const request = { model: MODEL, max_tokens: 12, messages: [{ role: 'user', content: 'Say hello.' }], temperature: 0 }

test('message', async () => {
  const message = await client.messages.create(request)
  assert.match(message.id, /^msg_/)
  assert.equal(message.content[0].type, 'text')
  assert.match(message.stop_reason, /^(end_turn|max_tokens)$/)
  assert.ok(message.usage.input_tokens > 0 && message.usage.output_tokens > 0)
})

test('message streams the same text', async () => {
  const whole = await client.messages.create(request)
  const events = await collect(await client.messages.create({ ...request, stream: true }))
  const kinds = [...new Set(events.map((event) => event.type))].filter((kind) => kind !== 'ping')
  assert.deepEqual(kinds, [
    'message_start',
    'content_block_start',
    'content_block_delta',
    'content_block_stop',
    'message_delta',
    'message_stop',
  ])
  const text = events.filter((event) => event.type === 'content_block_delta').map((event) => event.delta.text)
  assert.equal(text.join(''), whole.content[0].text)
})

test('stream helper', async () => {
  let text = ''
  const final = await client.messages.stream(request).on('text', (delta) => (text += delta)).finalMessage()
  assert.equal(final.content[0].text, text)
  assert.ok(final.usage.output_tokens > 0)
})

test('count tokens', async () => {
  const { model, messages } = request
  const counted = await client.messages.countTokens({ model, messages })
  assert.equal(counted.input_tokens, await support.promptTokens(messages))
})

test('unknown model', async () => {
  await assert.rejects(client.messages.create({ ...request, model: NO_SUCH_MODEL }), Anthropic.NotFoundError)
})

test('tools without a template for them are told in words', { skip: HAS_TOOLS }, async () => {
  const tools = [{ name: 'f', input_schema: support.WEATHER_PARAMETERS }]
  assert.ok((await client.messages.create({ ...request, tools })).stop_reason)
})

test('an aborted stream frees its slot', async () => {
  const stream = client.messages.stream({ ...request, max_tokens: 2000 })
  await assert.rejects(async () => {
    for await (const event of stream) if (event.type === 'content_block_delta') stream.abort()
  }, Anthropic.APIUserAbortError)
  await support.waitUntilIdle()
})
