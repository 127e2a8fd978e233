"""anthropic-python: messages, the stream helper, token counting, and errors by class."""

import anthropic
import pytest
import support
from support import NO_SUCH_MODEL, PIXEL_PNG, UNICODE_PROMPT, WEATHER_TOOL

HELLO = [{"role": "user", "content": "Say hello."}]
# `temperature` is no keyword of the client's newer versions; the API still has it.
GREEDY = {"max_tokens": 12, "extra_body": {"temperature": 0}}
TOOL = {
    "name": "get_weather",
    "description": "The weather of a city",
    "input_schema": WEATHER_TOOL["function"]["parameters"],
}


@pytest.fixture
def client():
    return anthropic.Anthropic(base_url=support.URL, api_key="unused", max_retries=0, timeout=120)


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


def n_prompt(message):
    """Tokens of the prompt; those that were known are counted apart."""
    return message.usage.input_tokens + message.usage.cache_read_input_tokens


def test_message(client, model):
    message = client.messages.create(model=model, messages=HELLO, **GREEDY)
    assert message.id.startswith("msg_") and message.type == "message" and message.role == "assistant"
    assert message.model.removesuffix(":latest") == model.removesuffix(":latest")
    assert message.content[0].type == "text" and text_of(message)
    assert message.stop_reason in ("end_turn", "max_tokens") and message.stop_sequence is None
    assert n_prompt(message) == support.n_prompt_tokens(HELLO)
    assert 0 < message.usage.output_tokens <= 12


def test_message_events_in_order(client, model):
    whole = client.messages.create(model=model, messages=HELLO, **GREEDY)
    events = [event for event in client.messages.create(model=model, messages=HELLO, stream=True, **GREEDY)]
    kinds = [event.type for event in events if event.type != "ping"]
    assert list(dict.fromkeys(kinds)) == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    start = events[0].message
    assert start.content == [] and start.stop_reason is None and start.usage.input_tokens > 0
    deltas = [event for event in events if event.type == "content_block_delta"]
    assert all(event.index == 0 and event.delta.type == "text_delta" for event in deltas)
    assert "".join(event.delta.text for event in deltas) == text_of(whole)
    ending = next(event for event in events if event.type == "message_delta")
    assert ending.delta.stop_reason == whole.stop_reason
    assert ending.usage.output_tokens == whole.usage.output_tokens


def test_stream_helper(client, model):
    whole = client.messages.create(model=model, messages=HELLO, **GREEDY)
    with client.messages.stream(model=model, messages=HELLO, **GREEDY) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == text_of(final) == text_of(whole)
    assert final.stop_reason == whole.stop_reason
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert n_prompt(final) == n_prompt(whole)


def test_max_tokens(client, model):
    message = client.messages.create(
        model=model, messages=[{"role": "user", "content": "Count to one hundred."}], max_tokens=3
    )
    assert message.stop_reason == "max_tokens" and message.usage.output_tokens == 3


def test_stop_sequences(client, model):
    whole = text_of(client.messages.create(model=model, messages=HELLO, **GREEDY))
    stop = whole[4:7]
    message = client.messages.create(model=model, messages=HELLO, stop_sequences=["\x00 never", stop], **GREEDY)
    assert text_of(message) == whole[: whole.index(stop)]
    assert message.stop_reason == "stop_sequence" and message.stop_sequence == stop
    with client.messages.stream(model=model, messages=HELLO, stop_sequences=[stop], **GREEDY) as stream:
        final = stream.get_final_message()
    assert text_of(final) == text_of(message)
    assert final.stop_reason == "stop_sequence" and final.stop_sequence == stop


@pytest.mark.parametrize("blocks", [False, True])
def test_system(client, model, blocks):
    text = "You are a pirate."
    system = [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}] if blocks else text
    message = client.messages.create(model=model, messages=HELLO, system=system, **GREEDY)
    assert n_prompt(message) == support.n_prompt_tokens([{"role": "system", "content": text}, *HELLO])


def test_content_blocks_and_history(client, model):
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Say hello.", "cache_control": {"type": "ephemeral"}}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Hello."}]},
        {"role": "user", "content": "And again."},
    ]
    message = client.messages.create(model=model, messages=messages, **GREEDY)
    plain = [*HELLO, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "And again."}]
    assert n_prompt(message) == support.n_prompt_tokens(plain)


def test_goes_on_from_its_own_answer(client, model):
    first = client.messages.create(model=model, messages=HELLO, **GREEDY)
    messages = [*HELLO, {"role": "assistant", "content": first.content}, {"role": "user", "content": "And again."}]
    assert text_of(client.messages.create(model=model, messages=messages, **GREEDY))


def test_tool_results_in_the_history(client, model):
    messages = [
        {"role": "user", "content": "The weather in Paris?"},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"}]},
    ]
    assert client.messages.create(model=model, messages=messages, **GREEDY).stop_reason


def test_tools_without_a_template_for_them_are_told_in_words(client, model, needs_no_tools):
    without = client.messages.count_tokens(model=model, messages=HELLO)
    told = client.messages.count_tokens(model=model, messages=HELLO, tools=[TOOL])
    assert told.input_tokens > without.input_tokens + 20
    assert client.messages.create(model=model, messages=HELLO, tools=[TOOL], max_tokens=12).stop_reason


def test_tools(client, model, needs_tools):
    message = client.messages.create(
        model=model, messages=HELLO, tools=[TOOL], tool_choice={"type": "any"}, max_tokens=200
    )
    call = next(block for block in message.content if block.type == "tool_use")
    assert call.name == "get_weather" and isinstance(call.input, dict) and message.stop_reason == "tool_use"


def test_image_on_a_text_model_is_400(client, model, needs_no_vision):
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL_PNG}}
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(model=model, messages=[{"role": "user", "content": [image]}], max_tokens=12)


def test_count_tokens(client, model):
    counted = client.messages.count_tokens(model=model, messages=HELLO, system="You are a pirate.")
    message = client.messages.create(model=model, messages=HELLO, system="You are a pirate.", max_tokens=1)
    assert counted.input_tokens == n_prompt(message)


def test_beta_messages(client, model):
    """Claude Code calls `?beta=true` with beta headers."""
    message = client.beta.messages.create(model=model, messages=HELLO, betas=["claude-code-20250219"], **GREEDY)
    assert text_of(message)
    with client.beta.messages.stream(model=model, messages=HELLO, betas=["claude-code-20250219"], **GREEDY) as stream:
        assert text_of(stream.get_final_message()) == text_of(message)
    assert client.beta.messages.count_tokens(model=model, messages=HELLO).input_tokens > 0


def test_sampling_fields_of_the_api(client, model):
    hot = {"temperature": 1, "top_p": 0.95, "top_k": 40}
    message = client.messages.create(
        model=model, messages=HELLO, max_tokens=8, metadata={"user_id": "someone"}, extra_body=hot
    )
    assert text_of(message)


def test_thinking_disabled_is_no_error(client, model):
    assert text_of(client.messages.create(model=model, messages=HELLO, thinking={"type": "disabled"}, **GREEDY))


def test_unknown_model_is_not_found(client):
    with pytest.raises(anthropic.NotFoundError) as error:
        client.messages.create(model=NO_SUCH_MODEL, messages=HELLO, max_tokens=4)
    assert error.value.body["type"] == "error"
    assert error.value.body["error"]["type"] == "not_found_error"
    assert NO_SUCH_MODEL in error.value.body["error"]["message"]
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(model=NO_SUCH_MODEL, messages=HELLO, max_tokens=4, stream=True)


@pytest.mark.parametrize(
    "wrong",
    [{"messages": []}, {"messages": "hello"}, {"max_tokens": -1}, {"max_tokens": "many"}, {"stop_sequences": 5}],
    ids=str,
)
def test_bad_requests_are_bad_requests(client, model, wrong):
    with pytest.raises(anthropic.BadRequestError) as error:
        client.messages.create(model=model, messages=HELLO, max_tokens=4, extra_body=wrong)
    assert error.value.body["error"]["type"] == "invalid_request_error"


def test_models_list(client, model):
    ids = [entry.id.removesuffix(":latest") for entry in client.models.list()]
    assert model.removesuffix(":latest") in ids


def test_streams_never_split_a_character(client, model):
    asked = dict(model=model, messages=[{"role": "user", "content": UNICODE_PROMPT}], max_tokens=48)
    with client.messages.stream(**asked, extra_body={"temperature": 0}) as stream:
        pieces = list(stream.text_stream)
    assert all(support.is_unbroken(piece) for piece in pieces)
    whole = client.messages.create(**asked, extra_body={"temperature": 0})
    assert "".join(pieces) == text_of(whole)


def test_cancelled_streams_free_their_slots(client, model):
    for _ in range(5):
        with client.messages.stream(model=model, messages=HELLO, max_tokens=2000) as stream:
            next(iter(stream))
    support.wait_until_idle()


def test_async_calls(model):
    async def calls():
        async with anthropic.AsyncAnthropic(base_url=support.URL, api_key="unused", max_retries=0) as client:
            whole = await client.messages.create(model=model, messages=HELLO, **GREEDY)
            async with client.messages.stream(model=model, messages=HELLO, **GREEDY) as stream:
                text = "".join([piece async for piece in stream.text_stream])
            assert text == text_of(whole)
            assert (await client.messages.count_tokens(model=model, messages=HELLO)).input_tokens > 0

    support.run_async(calls())
