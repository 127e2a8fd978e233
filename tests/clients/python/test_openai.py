"""openai-python: models, chat, completions, embeddings and responses, with its helpers and error classes."""

import asyncio
import base64
import json
import struct

import openai
import pydantic
import pytest
import support
from support import NO_SUCH_MODEL, PERSON_SCHEMA, PIXEL_PNG, UNICODE_PROMPT, WEATHER_TOOL

HELLO = [{"role": "user", "content": "Say hello."}]
GREEDY = {"temperature": 0, "max_tokens": 12}
SEEDED = {"temperature": 0.9, "seed": 42, "max_tokens": 16}
COUNTING = "1, 2, 3, 4, 5,"


class Frog(pydantic.BaseModel):
    alive: bool
    legs: int = pydantic.Field(ge=0, le=9)


@pytest.fixture
def client():
    # No retries: a wrong 5xx must be seen, not hidden by a second attempt.
    return openai.OpenAI(base_url=f"{support.URL}/v1", api_key="unused", max_retries=0, timeout=120)


def make_async():
    return openai.AsyncOpenAI(base_url=f"{support.URL}/v1", api_key="unused", max_retries=0, timeout=120)


def joined(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


# -- models -------------------------------------------------------------------------------------------------------------


def test_models_list(client, model):
    entries = list(client.models.list())
    assert entries and all(entry.object == "model" and entry.created > 0 and entry.owned_by for entry in entries)
    bare = model.removesuffix(":latest")
    assert bare in [entry.id.removesuffix(":latest") for entry in entries]


def test_models_retrieve(client, model):
    entry = client.models.retrieve(model)
    assert entry.object == "model" and entry.id.removesuffix(":latest") == model.removesuffix(":latest")


def test_models_retrieve_unknown(client):
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(NO_SUCH_MODEL)


# -- chat ---------------------------------------------------------------------------------------------------------------


def test_chat(client, model):
    answer = client.chat.completions.create(model=model, messages=HELLO, **GREEDY)
    assert answer.id.startswith("chatcmpl-") and answer.object == "chat.completion" and answer.created > 1_600_000_000
    assert answer.model.removesuffix(":latest") == model.removesuffix(":latest")
    choice = answer.choices[0]
    assert choice.index == 0 and choice.message.role == "assistant" and choice.message.content
    assert choice.finish_reason in ("stop", "length") and choice.logprobs is None
    assert answer.usage.prompt_tokens == support.n_prompt_tokens(HELLO)
    assert 0 < answer.usage.completion_tokens <= 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_chat_streams_the_same_text(client, model):
    whole = client.chat.completions.create(model=model, messages=HELLO, **SEEDED)
    chunks = list(client.chat.completions.create(model=model, messages=HELLO, stream=True, **SEEDED))
    assert joined(chunks) == whole.choices[0].message.content
    assert len({chunk.id for chunk in chunks}) == 1 and len({chunk.created for chunk in chunks}) == 1
    assert all(chunk.object == "chat.completion.chunk" and chunk.usage is None for chunk in chunks)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert all(chunk.choices[0].finish_reason is None for chunk in chunks[:-1])
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert not chunks[-1].choices[0].delta.content


def test_chat_stream_usage_on_request(client, model):
    whole = client.chat.completions.create(model=model, messages=HELLO, **GREEDY)
    chunks = list(
        client.chat.completions.create(
            model=model, messages=HELLO, stream=True, stream_options={"include_usage": True}, **GREEDY
        )
    )
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens == whole.usage.total_tokens
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_chat_stream_helper(client, model):
    whole = client.chat.completions.create(model=model, messages=HELLO, temperature=0, max_tokens=64)
    assert whole.choices[0].finish_reason == "stop", "the greeting is short; the helper raises at a length end"
    with client.chat.completions.stream(model=model, messages=HELLO, temperature=0, max_tokens=64) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert "content.delta" in kinds and kinds[-1] == "content.done"
    assert final.choices[0].message.content == whole.choices[0].message.content


def test_chat_helpers_raise_at_a_length_end(client, model):
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(model=model, messages=HELLO, response_format=Frog, max_tokens=1, temperature=0)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_chat_token_limits(client, model, name):
    answer = client.chat.completions.create(model=model, messages=HELLO, temperature=0, **{name: 3})
    assert answer.usage.completion_tokens == 3 and answer.choices[0].finish_reason == "length"


@pytest.mark.parametrize("as_list", [False, True])
def test_chat_stop(client, model, as_list):
    whole = client.chat.completions.create(model=model, messages=HELLO, **GREEDY).choices[0].message.content
    stop = whole[4:7]
    stops = {"stop": ["\x00 never", stop] if as_list else stop}
    stopped = client.chat.completions.create(model=model, messages=HELLO, **GREEDY, **stops)
    assert stopped.choices[0].message.content == whole[: whole.index(stop)]
    assert stopped.choices[0].finish_reason == "stop"
    chunks = list(client.chat.completions.create(model=model, messages=HELLO, stream=True, **GREEDY, **stops))
    assert joined(chunks) == stopped.choices[0].message.content


def test_chat_seed(client, model):
    hot = {"temperature": 1.5, "max_tokens": 24, "top_p": 1}
    texts = [
        client.chat.completions.create(model=model, messages=HELLO, seed=seed, **hot).choices[0].message.content
        for seed in (1, 1, 2, 3)
    ]
    assert texts[0] == texts[1] and len(set(texts)) > 1


def test_chat_n(client, model):
    answer = client.chat.completions.create(model=model, messages=HELLO, n=2, temperature=1.5, max_tokens=16, seed=1)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.usage.completion_tokens > 2


def test_chat_n_streamed(client, model):
    chunks = list(
        client.chat.completions.create(model=model, messages=HELLO, n=2, temperature=1, max_tokens=8, seed=1, stream=True)
    )
    ended = [choice.index for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert sorted(ended) == [0, 1]


def test_chat_logprobs(client, model):
    answer = client.chat.completions.create(
        model=model, messages=HELLO, logprobs=True, top_logprobs=3, temperature=0, max_tokens=6
    )
    entries = answer.choices[0].logprobs.content
    assert len(entries) == answer.usage.completion_tokens == 6
    assert b"".join(bytes(entry.bytes) for entry in entries).decode() == answer.choices[0].message.content
    for entry in entries:
        assert entry.logprob <= 0 and len(entry.top_logprobs) == 3
        assert entry.top_logprobs[0].token == entry.token


def test_chat_logprobs_streamed_are_the_same(client, model):
    asked = dict(model=model, messages=HELLO, logprobs=True, top_logprobs=2, temperature=0, max_tokens=6)
    whole = client.chat.completions.create(**asked).choices[0].logprobs.content
    chunks = client.chat.completions.create(stream=True, **asked)
    streamed = [
        entry
        for chunk in chunks
        for choice in chunk.choices
        if choice.logprobs
        for entry in choice.logprobs.content or []
    ]
    assert streamed == whole


def test_chat_json_object(client, model):
    asked = [{"role": "user", "content": "A JSON object with the key ok that is true."}]
    answer = client.chat.completions.create(
        model=model, messages=asked, response_format={"type": "json_object"}, temperature=0, max_tokens=200
    )
    text = answer.choices[0].message.content
    assert text.lstrip().startswith("{")
    if answer.choices[0].finish_reason == "stop":
        json.loads(text)


def test_chat_json_schema(client, model):
    form = {"type": "json_schema", "json_schema": {"name": "frog", "schema": PERSON_SCHEMA, "strict": True}}
    asked = dict(model=model, messages=HELLO, response_format=form, temperature=0, max_tokens=100)
    whole = client.chat.completions.create(**asked).choices[0].message.content
    assert set(json.loads(whole)) == {"colour", "alive"}
    assert joined(list(client.chat.completions.create(stream=True, **asked))) == whole


def test_chat_parse_into_a_class(client, model):
    answer = client.chat.completions.parse(
        model=model, messages=HELLO, response_format=Frog, temperature=0, max_tokens=100
    )
    assert isinstance(answer.choices[0].message.parsed, Frog)


def test_chat_stream_helper_with_a_class(client, model):
    with client.chat.completions.stream(
        model=model, messages=HELLO, response_format=Frog, temperature=0, max_tokens=100
    ) as stream:
        final = stream.get_final_completion()
    assert isinstance(final.choices[0].message.parsed, Frog)


def test_chat_content_parts_are_text(client, model):
    parts = [{"role": "user", "content": [{"type": "text", "text": "Say "}, {"type": "text", "text": "hello."}]}]
    answer = client.chat.completions.create(model=model, messages=parts, **GREEDY)
    assert answer.choices[0].message.content
    one = [{"role": "user", "content": [{"type": "text", "text": "Say hello."}]}]
    plain = client.chat.completions.create(model=model, messages=HELLO, **GREEDY)
    assert client.chat.completions.create(model=model, messages=one, **GREEDY).choices[0].message == plain.choices[0].message


@pytest.mark.parametrize("role", ["system", "developer"])
def test_chat_instructions(client, model, role):
    messages = [{"role": role, "content": "You are a pirate."}, *HELLO]
    answer = client.chat.completions.create(model=model, messages=messages, **GREEDY)
    as_system = [{"role": "system", "content": "You are a pirate."}, *HELLO]
    assert answer.usage.prompt_tokens == support.n_prompt_tokens(as_system)


def test_chat_history_with_tool_results(client, model):
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
    messages = [
        {"role": "user", "content": "The weather in Paris?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]
    assert client.chat.completions.create(model=model, messages=messages, **GREEDY).choices[0].finish_reason


def test_chat_image_on_a_text_model_is_400(client, model, needs_no_vision):
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL_PNG}"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, image]}]
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=model, messages=messages, **GREEDY)


@pytest.mark.parametrize("stream", [False, True])
def test_chat_tools_without_a_template_for_them_are_told_in_words(client, model, needs_no_tools, stream):
    answer = client.chat.completions.create(
        model=model, messages=HELLO, tools=[WEATHER_TOOL], tool_choice="required", temperature=0, max_tokens=200, stream=stream
    )
    if stream:
        calls = [c for chunk in answer for choice in chunk.choices for c in choice.delta.tool_calls or []]
        assert calls[0].function.name == WEATHER_TOOL["function"]["name"] and calls[0].id
        assert isinstance(json.loads("".join(c.function.arguments or "" for c in calls if c.index == 0)), dict)
    elif answer.choices[0].finish_reason == "tool_calls":
        assert isinstance(json.loads(answer.choices[0].message.tool_calls[0].function.arguments), dict)
    else:
        assert answer.choices[0].finish_reason == "length"


def test_chat_tools(client, model, needs_tools):
    answer = client.chat.completions.create(
        model=model, messages=HELLO, tools=[WEATHER_TOOL], tool_choice="required", temperature=0, max_tokens=200
    )
    call = answer.choices[0].message.tool_calls[0]
    assert call.id and call.function.name == "get_weather" and "city" in json.loads(call.function.arguments)
    assert answer.choices[0].finish_reason == "tool_calls"


def test_chat_logit_bias(client, model):
    answer = client.chat.completions.create(model=model, messages=HELLO, logprobs=True, **GREEDY)
    first = answer.choices[0].logprobs.content[0].token
    token = support.post("/tokenize", {"content": first}).json()["tokens"][0]
    banned = client.chat.completions.create(
        model=model, messages=HELLO, logit_bias={str(token): -100}, logprobs=True, **GREEDY
    )
    assert banned.choices[0].logprobs.content[0].token != first


def test_chat_penalties(client, model):
    asked = dict(model=model, messages=[{"role": "user", "content": "Repeat: la la la la la la"}], temperature=0, max_tokens=24)
    plain = client.chat.completions.create(**asked).choices[0].message.content
    assert client.chat.completions.create(frequency_penalty=2, **asked).choices[0].message.content != plain
    assert client.chat.completions.create(presence_penalty=2, **asked).choices[0].message.content != plain


def test_chat_ignores_what_it_does_not_know(client, model):
    answer = client.chat.completions.create(
        model=model,
        messages=HELLO,
        user="someone",
        store=False,
        metadata={"a": "b"},
        service_tier="auto",
        parallel_tool_calls=True,
        reasoning_effort="low",
        extra_body={"no_such_field": {"deep": [1]}, "top_k": 20},
        extra_headers={"x-stainless-helper-method": "x", "OpenAI-Organization": "org"},
        **GREEDY,
    )
    assert answer.choices[0].message.content


def test_chat_raw_response_and_streaming_response(client, model):
    raw = client.chat.completions.with_raw_response.create(model=model, messages=HELLO, **GREEDY)
    assert raw.headers["content-type"].startswith("application/json") and raw.parse().choices
    with client.chat.completions.with_streaming_response.create(model=model, messages=HELLO, **GREEDY) as response:
        assert json.loads("".join(response.iter_text()))["choices"]


# -- errors -------------------------------------------------------------------------------------------------------------


def test_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as error:
        client.chat.completions.create(model=NO_SUCH_MODEL, messages=HELLO)
    assert NO_SUCH_MODEL in error.value.message
    assert error.value.type == "not_found_error" and isinstance(error.value.body, dict)


def test_unknown_model_while_streaming_is_not_found(client):
    with pytest.raises(openai.NotFoundError):
        list(client.chat.completions.create(model=NO_SUCH_MODEL, messages=HELLO, stream=True))


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": "hot"},
        {"messages": "hello"},
        {"messages": []},
        {"messages": [{"role": "user"}]},
        {"max_tokens": "many"},
        {"stop": 5},
        {"n": 0},
        {"top_logprobs": 21, "logprobs": True},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}}},
        {"response_format": {"type": "nonsense"}},
    ],
    ids=lambda wrong: json.dumps(wrong)[:40],
)
def test_bad_requests_are_bad_requests(client, model, wrong):
    body = {"messages": HELLO, "max_tokens": 4, **wrong}
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(model=model, messages=body.pop("messages"), extra_body=body)
    assert error.value.type == "invalid_request_error" and error.value.message


# -- completions --------------------------------------------------------------------------------------------------------


def test_completion_is_raw(client, model):
    answer = client.completions.create(model=model, prompt="The capital of France is", **GREEDY)
    assert answer.object == "text_completion" and answer.id.startswith("cmpl-")
    assert answer.usage.prompt_tokens == support.n_tokens("The capital of France is")
    assert answer.choices[0].text and answer.choices[0].index == 0
    assert answer.choices[0].finish_reason in ("stop", "length")


def test_completion_streams_the_same_text(client, model):
    whole = client.completions.create(model=model, prompt=COUNTING, **SEEDED).choices[0]
    chunks = list(client.completions.create(model=model, prompt=COUNTING, stream=True, **SEEDED))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.text
    assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == whole.finish_reason
    assert len({chunk.id for chunk in chunks}) == 1


def test_completion_stream_usage(client, model):
    chunks = list(
        client.completions.create(
            model=model, prompt=COUNTING, stream=True, stream_options={"include_usage": True}, **GREEDY
        )
    )
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 0


def test_completion_prompts_of_every_kind(client, model):
    tokens = support.post("/tokenize", {"content": COUNTING}).json()["tokens"]
    text = client.completions.create(model=model, prompt=COUNTING, **GREEDY).choices[0].text
    assert client.completions.create(model=model, prompt=tokens, **GREEDY).choices[0].text == text
    for prompts in ([COUNTING, "Once upon"], [tokens, tokens]):
        answer = client.completions.create(model=model, prompt=prompts, **GREEDY)
        assert [choice.index for choice in answer.choices] == [0, 1]
        assert answer.choices[0].text == text


def test_completion_echo(client, model):
    plain = client.completions.create(model=model, prompt=COUNTING, **GREEDY).choices[0].text
    assert client.completions.create(model=model, prompt=COUNTING, echo=True, **GREEDY).choices[0].text == COUNTING + plain


def test_completion_logprobs(client, model):
    answer = client.completions.create(model=model, prompt=COUNTING, logprobs=2, temperature=0, max_tokens=5)
    found = answer.choices[0].logprobs
    assert len(found.tokens) == len(found.token_logprobs) == len(found.top_logprobs) == 5
    assert "".join(found.tokens) == answer.choices[0].text
    assert all(len(rivals) >= 2 for rivals in found.top_logprobs)
    assert found.text_offset == sorted(found.text_offset)


def test_completion_stop_and_n(client, model):
    answer = client.completions.create(model=model, prompt=COUNTING, stop=["7"], temperature=0, max_tokens=32)
    assert "7" not in answer.choices[0].text and answer.choices[0].finish_reason == "stop"
    assert len(client.completions.create(model=model, prompt=COUNTING, n=2, max_tokens=4).choices) == 2


def test_completion_suffix_without_infill_tokens_is_400(client, model):
    if "insert" in support.capabilities():
        pytest.skip("the model can fill in")
    with pytest.raises(openai.BadRequestError):
        client.completions.create(model=model, prompt="def add(", suffix="return c", **GREEDY)


# -- embeddings ---------------------------------------------------------------------------------------------------------


def test_embeddings_default_to_base64_and_are_decoded(client, model):
    answer = client.embeddings.create(model=model, input="Hello world")
    assert answer.object == "list" and answer.data[0].object == "embedding"
    assert isinstance(answer.data[0].embedding[0], float)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0


def test_embeddings_base64_are_little_endian_floats(client, model):
    floats = client.embeddings.create(model=model, input="Hello world", encoding_format="float").data[0].embedding
    packed = client.embeddings.create(model=model, input="Hello world", encoding_format="base64").data[0].embedding
    data = base64.b64decode(packed)
    assert list(struct.unpack(f"<{len(data) // 4}f", data)) == pytest.approx(floats, rel=1e-5)


def test_embeddings_of_many(client, model):
    answer = client.embeddings.create(model=model, input=["Hello world", "Something else"])
    assert [entry.index for entry in answer.data] == [0, 1]
    one = client.embeddings.create(model=model, input="Hello world").data[0].embedding
    assert answer.data[0].embedding == pytest.approx(one, abs=1e-3)


def test_embeddings_of_tokens(client, model):
    tokens = support.post("/tokenize", {"content": "Hello world"}).json()["tokens"]
    text = client.embeddings.create(model=model, input="Hello world").data[0].embedding
    assert client.embeddings.create(model=model, input=tokens).data[0].embedding == pytest.approx(text, abs=1e-3)
    assert len(client.embeddings.create(model=model, input=[tokens, tokens]).data) == 2


def test_embeddings_dimensions(client, model):
    assert len(client.embeddings.create(model=model, input="Hello", dimensions=16).data[0].embedding) == 16


def test_embeddings_errors(client, model):
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model=NO_SUCH_MODEL, input="Hi")
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model=model, input=5)


# -- responses ----------------------------------------------------------------------------------------------------------

EVENT_ORDER = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
]


def test_response(client, model):
    answer = client.responses.create(model=model, input="Say hello.", temperature=0, max_output_tokens=48)
    assert answer.id.startswith("resp_") and answer.object == "response" and answer.status == "completed"
    assert answer.error is None
    item = answer.output[0]
    assert item.type == "message" and item.role == "assistant" and item.id.startswith("msg_")
    assert item.content[0].type == "output_text" and item.content[0].annotations == []
    assert answer.output_text == item.content[0].text != ""
    assert answer.usage.input_tokens == support.n_prompt_tokens(HELLO)
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert answer.usage.input_tokens_details.cached_tokens >= 0
    assert answer.usage.output_tokens_details.reasoning_tokens == 0


def test_response_is_the_chat_answer(client, model):
    chatted = client.chat.completions.create(model=model, messages=HELLO, temperature=0, max_tokens=48)
    answer = client.responses.create(model=model, input="Say hello.", temperature=0, max_output_tokens=48)
    assert answer.output_text == chatted.choices[0].message.content


def test_response_events_in_order(client, model):
    events = list(
        client.responses.create(model=model, input="Say hello.", temperature=0, max_output_tokens=48, stream=True)
    )
    kinds = [event.type for event in events]
    assert list(dict.fromkeys(kinds)) == [*EVENT_ORDER, "response.completed"]
    assert [event.sequence_number for event in events] == list(range(events[0].sequence_number, events[0].sequence_number + len(events)))
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    assert all(event.output_index == 0 and event.content_index == 0 for event in deltas)
    assert {event.item_id for event in deltas} == {events[2].item.id}
    text = "".join(event.delta for event in deltas)
    assert text == events[-1].response.output_text == events[-4].text
    assert events[0].response.id == events[-1].response.id and events[0].response.status == "in_progress"
    assert events[-1].response.usage.output_tokens > 0
    whole = client.responses.create(model=model, input="Say hello.", temperature=0, max_output_tokens=48)
    assert whole.output_text == text


def test_response_stream_helper(client, model):
    with client.responses.stream(model=model, input="Say hello.", temperature=0, max_output_tokens=48) as stream:
        snapshots = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert snapshots[-1] == final.output_text != ""
    assert final.status == "completed"


def test_response_limit(client, model):
    """As on OpenAI's own server; the reference servers say `completed`."""
    answer = client.responses.create(model=model, input="Count to one hundred.", temperature=0, max_output_tokens=16)
    assert answer.usage.output_tokens <= 16
    assert answer.status == "incomplete" and answer.incomplete_details.reason == "max_output_tokens"
    assert answer.output[0].status == "incomplete"
    events = list(
        client.responses.create(
            model=model, input="Count to one hundred.", temperature=0, max_output_tokens=16, stream=True
        )
    )
    assert events[-1].type == "response.incomplete" and events[-1].response.output_text == answer.output_text


def test_response_instructions_and_items(client, model):
    as_text = client.responses.create(
        model=model, instructions="You are a pirate.", input="Say hello.", temperature=0, max_output_tokens=16
    )
    items = [
        {"role": "system", "content": "You are a pirate."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Say hello."}]},
    ]
    as_items = client.responses.create(model=model, input=items, temperature=0, max_output_tokens=16)
    assert as_items.output_text == as_text.output_text
    assert as_items.usage.input_tokens == as_text.usage.input_tokens


def test_response_goes_on_from_its_own_output(client, model):
    first = client.responses.create(model=model, input="Say hello.", temperature=0, max_output_tokens=16)
    items = [{"role": "user", "content": "Say hello."}, *first.output, {"role": "user", "content": "And again."}]
    second = client.responses.create(model=model, input=items, temperature=0, max_output_tokens=16)
    assert second.output_text and second.usage.input_tokens > first.usage.input_tokens


def test_response_history_with_function_calls(client, model):
    items = [
        {"role": "user", "content": "The weather in Paris?"},
        {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": '{"city": "Paris"}'},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
    ]
    assert client.responses.create(model=model, input=items, temperature=0, max_output_tokens=16).output_text is not None


def test_response_json_schema(client, model):
    form = {"format": {"type": "json_schema", "name": "frog", "schema": PERSON_SCHEMA, "strict": True}}
    answer = client.responses.create(model=model, input="A frog.", text=form, temperature=0, max_output_tokens=100)
    assert set(json.loads(answer.output_text)) == {"colour", "alive"}


def test_response_parse_into_a_class(client, model):
    answer = client.responses.parse(model=model, input="A frog.", text_format=Frog, temperature=0, max_output_tokens=100)
    assert isinstance(answer.output_parsed, Frog)


def test_response_tools_without_a_template_for_them_are_told_in_words(client, model, needs_no_tools):
    tool = {"type": "function", **WEATHER_TOOL["function"], "strict": False}
    answer = client.responses.create(model=model, input="Hi", tools=[tool], max_output_tokens=64)
    assert answer.output_text or any(item.type == "function_call" for item in answer.output)


def test_response_previous_id_is_refused_not_ignored(client, model):
    with pytest.raises((openai.BadRequestError, openai.NotFoundError)):
        client.responses.create(model=model, input="Hi", previous_response_id="resp_123", max_output_tokens=16)


def test_response_errors(client):
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model=NO_SUCH_MODEL, input="Hi")
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_unknown")


# -- unicode, cancelling, async -----------------------------------------------------------------------------------------


def test_streams_never_split_a_character(client, model):
    asked = dict(model=model, prompt=UNICODE_PROMPT, temperature=0.7, seed=5, max_tokens=60)
    whole = client.completions.create(**asked).choices[0].text
    chunks = list(client.completions.create(stream=True, **asked))
    assert all(support.is_unbroken(chunk.choices[0].text) for chunk in chunks)
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole


def test_cancelled_streams_free_their_slots(client, model):
    for _ in range(5):
        stream = client.chat.completions.create(model=model, messages=HELLO, stream=True, max_tokens=2000, temperature=2)
        next(iter(stream))
        stream.close()
    support.wait_until_idle()


def test_async_calls(model):
    async def calls():
        async with make_async() as client:
            assert [entry async for entry in client.models.list()]
            whole = await client.chat.completions.create(model=model, messages=HELLO, **GREEDY)
            stream = await client.chat.completions.create(model=model, messages=HELLO, stream=True, **GREEDY)
            assert joined([chunk async for chunk in stream]) == whole.choices[0].message.content
            assert (await client.completions.create(model=model, prompt="Hi", **GREEDY)).choices
            assert (await client.embeddings.create(model=model, input="Hi")).data
            answer = await client.responses.create(model=model, input="Say hello.", temperature=0, max_output_tokens=48)
            async with client.responses.stream(
                model=model, input="Say hello.", temperature=0, max_output_tokens=48
            ) as events:
                assert (await events.get_final_response()).output_text == answer.output_text
            with pytest.raises(openai.NotFoundError):
                await client.chat.completions.create(model=NO_SUCH_MODEL, messages=HELLO)

    support.run_async(calls())


def test_many_at_once_answer_as_one_alone(client, model):
    asked = [[{"role": "user", "content": f"Tell me about the number {n}."}] for n in range(12)]
    alone = [
        client.chat.completions.create(model=model, messages=messages, **GREEDY).choices[0].message.content
        for messages in asked
    ]

    async def together():
        async with make_async() as shared:
            return await asyncio.gather(
                *(shared.chat.completions.create(model=model, messages=messages, **GREEDY) for messages in asked)
            )

    assert [answer.choices[0].message.content for answer in support.run_async(together())] == alone
