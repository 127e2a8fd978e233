"""litellm: the same server by its `ollama/`, `ollama_chat/`, `openai/` and `anthropic/` prefixes."""

import json
import os

# Prices are looked up in a file of the package, not on the network.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm  # noqa: E402
import pytest  # noqa: E402
import support  # noqa: E402
from support import NO_SUCH_MODEL, PERSON_SCHEMA  # noqa: E402

HELLO = [{"role": "user", "content": "Say hello."}]
GREEDY = {"temperature": 0, "max_tokens": 12}
PREFIXES = ["ollama", "ollama_chat", "openai", "anthropic"]

litellm.num_retries = 0
litellm.telemetry = False
litellm.suppress_debug_info = True


def target(prefix, model):
    base = f"{support.URL}/v1" if prefix in ("openai", "text-completion-openai") else support.URL
    return {"model": f"{prefix}/{model}", "api_base": base, "api_key": "unused"}


def joined(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_completion(model, prefix):
    answer = litellm.completion(messages=HELLO, **GREEDY, **target(prefix, model))
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage.prompt_tokens > 0 and 0 < answer.usage.completion_tokens <= 12


@pytest.mark.parametrize("prefix", PREFIXES)
def test_completion_streams_the_same_text(model, prefix):
    whole = litellm.completion(messages=HELLO, **GREEDY, **target(prefix, model))
    chunks = list(litellm.completion(messages=HELLO, stream=True, **GREEDY, **target(prefix, model)))
    assert joined(chunks) == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] in ("stop", "length")


@pytest.mark.parametrize("prefix", ["ollama_chat", "openai"])
def test_stream_usage(model, prefix):
    chunks = list(
        litellm.completion(
            messages=HELLO, stream=True, stream_options={"include_usage": True}, **GREEDY, **target(prefix, model)
        )
    )
    usage = [chunk.usage for chunk in chunks if getattr(chunk, "usage", None)]
    assert usage and usage[-1].prompt_tokens == support.n_prompt_tokens(HELLO)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_async_completion(model, prefix):
    async def calls():
        whole = await litellm.acompletion(messages=HELLO, **GREEDY, **target(prefix, model))
        stream = await litellm.acompletion(messages=HELLO, stream=True, **GREEDY, **target(prefix, model))
        assert joined([chunk async for chunk in stream]) == whole.choices[0].message.content

    support.run_async(calls())


@pytest.mark.parametrize("prefix", ["ollama_chat", "openai"])
def test_prompt_is_counted_as_the_template_makes_it(model, prefix):
    messages = [{"role": "system", "content": "You are a pirate."}, *HELLO]
    answer = litellm.completion(messages=messages, **GREEDY, **target(prefix, model))
    assert answer.usage.prompt_tokens == support.n_prompt_tokens(messages)


@pytest.mark.parametrize("prefix", ["ollama", "ollama_chat", "openai"])
def test_json_schema(model, prefix):
    form = {"type": "json_schema", "json_schema": {"name": "frog", "schema": PERSON_SCHEMA, "strict": True}}
    answer = litellm.completion(
        messages=HELLO, response_format=form, temperature=0, max_tokens=100, **target(prefix, model)
    )
    assert set(json.loads(answer.choices[0].message.content)) == {"colour", "alive"}


@pytest.mark.parametrize("prefix", ["ollama_chat", "openai"])
def test_stop_and_seed(model, prefix):
    whole = litellm.completion(messages=HELLO, seed=1, **GREEDY, **target(prefix, model)).choices[0].message.content
    stop = whole[4:7]
    stopped = litellm.completion(messages=HELLO, stop=[stop], **GREEDY, **target(prefix, model))
    # litellm may trim the ends of what the server sent.
    assert stopped.choices[0].message.content.strip() == whole[: whole.index(stop)].strip()


@pytest.mark.parametrize("prefix", PREFIXES)
def test_unknown_model_is_an_error_of_its_own(prefix):
    with pytest.raises((litellm.NotFoundError, litellm.APIConnectionError, litellm.BadRequestError)) as error:
        litellm.completion(messages=HELLO, **GREEDY, **target(prefix, NO_SUCH_MODEL))
    assert NO_SUCH_MODEL in str(error.value)


def test_unknown_model_of_the_openai_prefix_is_not_found():
    with pytest.raises(litellm.NotFoundError):
        litellm.completion(messages=HELLO, **GREEDY, **target("openai", NO_SUCH_MODEL))


@pytest.mark.parametrize("prefix", ["ollama", "openai"])
def test_embedding(model, prefix):
    answer = litellm.embedding(input=["Hello world", "Something else"], **target(prefix, model))
    vectors = [entry["embedding"] for entry in answer.data]
    assert len(vectors) == 2 and all(isinstance(value, float) for value in vectors[0])


def test_async_embedding(model):
    answer = support.run_async(litellm.aembedding(input=["Hello world"], **target("ollama", model)))
    assert len(answer.data) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_text_completion(model, stream):
    answer = litellm.text_completion(
        prompt="1, 2, 3, 4, 5,", stream=stream, **GREEDY, **target("text-completion-openai", model)
    )
    text = "".join(chunk.choices[0].text or "" for chunk in answer) if stream else answer.choices[0].text
    assert text


def test_responses(model):
    answer = litellm.responses(input="Say hello.", max_output_tokens=48, temperature=0, **target("openai", model))
    assert answer.output[0].content[0].text
    events = list(
        litellm.responses(input="Say hello.", max_output_tokens=48, temperature=0, stream=True, **target("openai", model))
    )
    assert str(getattr(events[-1].type, "value", events[-1].type)) == "response.completed"


def test_model_info_is_read_from_show(model, monkeypatch):
    monkeypatch.setenv("OLLAMA_API_BASE", support.URL)
    info = litellm.get_model_info(f"ollama/{model}")
    assert info["max_tokens"] > 0
