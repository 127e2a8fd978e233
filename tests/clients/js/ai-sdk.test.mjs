// The AI SDK by its four providers: openai (responses and chat), openai-compatible, ollama-ai-provider-v2, anthropic.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createAnthropic } from '@ai-sdk/anthropic'
import { createOpenAI } from '@ai-sdk/openai'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { embed, embedMany, generateText, jsonSchema, Output, streamText, tool } from 'ai'
import { createOllama } from 'ollama-ai-provider-v2'
import { z } from 'zod'
import * as support from './support.mjs'
import { collect, HAS_TOOLS, MODEL, NO_SUCH_MODEL } from './support.mjs'

globalThis.AI_SDK_LOG_WARNINGS = false

const v1 = `${support.URL_BASE}/v1`
const openai = createOpenAI({ baseURL: v1, apiKey: 'unused' })
const compatible = createOpenAICompatible({
  name: 'ssd-llm',
  baseURL: v1,
  includeUsage: true,
  supportsStructuredOutputs: true,
})
const ollama = createOllama({ baseURL: `${support.URL_BASE}/api` })
const anthropic = createAnthropic({ baseURL: v1, apiKey: 'unused' })

const models = {
  'openai responses': (id) => openai(id),
  'openai chat': (id) => openai.chat(id),
  'openai-compatible': (id) => compatible(id),
  ollama: (id) => ollama(id),
  anthropic: (id) => anthropic(id),
}
// The Ollama provider sends the SDK's own settings beside `options`, where no server looks, so they are given there too.
const ollamaOptions = { ollama: { options: { temperature: 0, num_predict: 48 } } }
const fixed = { prompt: 'Say hello.', temperature: 0, maxOutputTokens: 48, maxRetries: 0, providerOptions: ollamaOptions }

for (const [name, make] of Object.entries(models)) {
  test(`${name}: generateText`, async () => {
    const answer = await generateText({ model: make(MODEL), ...fixed })
    assert.ok(answer.text)
    assert.match(answer.finishReason, /^(stop|length)$/)
    assert.ok(answer.usage.inputTokens > 0 && answer.usage.outputTokens > 0)
  })

  test(`${name}: streamText is the same text`, async () => {
    const whole = await generateText({ model: make(MODEL), ...fixed })
    const errors = []
    const result = streamText({ model: make(MODEL), ...fixed, onError: ({ error }) => errors.push(error) })
    const parts = await collect(result.fullStream)
    assert.deepEqual(errors, [])
    assert.equal(parts.filter((part) => part.type === 'text-delta').map((part) => part.text).join(''), whole.text)
    assert.match(await result.finishReason, /^(stop|length)$/)
    assert.ok((await result.usage).outputTokens > 0)
  })

  test(`${name}: system and history`, async () => {
    const answer = await generateText({
      model: make(MODEL),
      ...fixed,
      prompt: undefined,
      system: 'You are a pirate.',
      messages: [
        { role: 'user', content: 'Hi' },
        { role: 'assistant', content: 'Arr.' },
        { role: 'user', content: [{ type: 'text', text: 'Say hello.' }] },
      ],
    })
    assert.ok(answer.text)
  })

  test(`${name}: unknown model is an API error with status 404`, async () => {
    await assert.rejects(generateText({ model: make(NO_SUCH_MODEL), ...fixed }), (error) => {
      assert.equal(error.statusCode, 404)
      return true
    })
  })

  test(`${name}: tools without a template for them are told in words, or refused by Ollama's API`, { skip: HAS_TOOLS }, async () => {
    const weather = tool({
      description: 'The weather of a city',
      inputSchema: jsonSchema(support.WEATHER_PARAMETERS),
      execute: async () => 'sunny',
    })
    const answer = generateText({ model: make(MODEL), ...fixed, tools: { weather } })
    if (!name.startsWith('ollama')) {
      const { text, toolCalls } = await answer
      return assert.ok(text || toolCalls.length)
    }
    await assert.rejects(answer, (error) => {
      assert.equal(error.statusCode, 400)
      return true
    })
  })

  test(`${name}: an aborted stream frees its slot`, async () => {
    const controller = new AbortController()
    const result = streamText({
      model: make(MODEL),
      ...fixed,
      maxOutputTokens: 2000,
      providerOptions: { ollama: { options: { num_predict: 2000 } } },
      abortSignal: controller.signal,
      onError: () => {},
    })
    for await (const part of result.fullStream) if (part.type === 'text-delta') controller.abort()
    await support.waitUntilIdle()
  })
}

// Anthropic's provider asks for structured output by a tool, which this model's template may not have.
for (const name of ['openai responses', 'openai chat', 'openai-compatible', 'ollama']) {
  test(`${name}: structured output`, async () => {
    const schema = z.object({ alive: z.boolean(), legs: z.number().int().min(0).max(9) })
    const answer = await generateText({
      model: models[name](MODEL),
      ...fixed,
      maxOutputTokens: 100,
      providerOptions: { ollama: { options: { temperature: 0, num_predict: 100 } } },
      output: Output.object({ schema }),
    })
    assert.equal(typeof answer.output.alive, 'boolean')
  })
}

test('openai completion model', async () => {
  const whole = await generateText({ model: openai.completion(MODEL), ...fixed, maxOutputTokens: 12 })
  const result = streamText({ model: compatible.completionModel(MODEL), ...fixed, maxOutputTokens: 12 })
  assert.equal((await collect(result.textStream)).join(''), whole.text)
})

const embedders = {
  openai: () => openai.embedding(MODEL),
  'openai-compatible': () => compatible.textEmbeddingModel(MODEL),
  ollama: () => ollama.textEmbeddingModel(MODEL),
}
for (const [name, make] of Object.entries(embedders)) {
  test(`${name}: embed and embedMany`, async () => {
    const { embedding } = await embed({ model: make(), value: 'Hello world', maxRetries: 0 })
    const { embeddings } = await embedMany({ model: make(), values: ['Hello world', 'Something else'], maxRetries: 0 })
    assert.equal(embeddings.length, 2)
    assert.equal(embeddings[0].length, embedding.length)
  })
}
