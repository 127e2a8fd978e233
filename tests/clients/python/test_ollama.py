"""ollama-python: every call it documents, streaming and not, synchronous and not."""

import asyncio
import datetime
import hashlib
import json
import os
import subprocess
import sys

import ollama
import pytest
import support
from support import GREEDY, NO_SUCH_MODEL, PERSON_SCHEMA, PIXEL_PNG, SEEDED, UNICODE_PROMPT, WEATHER_TOOL

HELLO = [{"role": "user", "content": "Say hello."}]


@pytest.fixture
def client():
    return ollama.Client(host=support.URL, timeout=120)


@pytest.fixture
def make_async():
    # A client is bound to the event loop that first uses it, so each test makes its own inside its loop.
    return lambda: ollama.AsyncClient(host=support.URL, timeout=120)


def joined(parts, field=lambda part: part.response):
    return "".join(field(part) or "" for part in parts)


def content(part):
    return part.message.content


# -- models -------------------------------------------------------------------------------------------------------------


def test_list_has_the_model_with_a_tag(client, model):
    models = client.list().models
    assert models
    assert all(":" in entry.model for entry in models)
    assert model in [entry.model for entry in models] + [entry.model.removesuffix(":latest") for entry in models]


def test_list_entries_are_complete(client):
    entry = client.list().models[0]
    assert len(entry.digest) == 64 and int(entry.digest, 16) >= 0
    assert entry.size > 1_000_000
    assert entry.modified_at.tzinfo is not None
    assert entry.details.format == "gguf"
    assert entry.details.family and entry.details.family in entry.details.families
    assert entry.details.parameter_size[-1] in "MBK"
    assert entry.details.quantization_level


def test_ps_lists_the_loaded_model(client, model):
    client.generate(model, "Hi", options=GREEDY)
    running = client.ps().models
    assert len(running) == 1
    assert running[0].model == running[0].name
    assert running[0].context_length > 0
    assert running[0].size > 0 and running[0].size_vram is not None
    assert len(running[0].digest) == 64
    assert running[0].expires_at > datetime.datetime.now(datetime.timezone.utc)


@pytest.mark.parametrize(("keep_alive", "seconds"), [("10m", 600), ("1h30m", 5400), (90, 90), ("45s", 45)])
def test_ps_expires_when_keep_alive_says(client, model, keep_alive, seconds):
    client.generate(model, "Hi", options=GREEDY, keep_alive=keep_alive)
    left = client.ps().models[0].expires_at - datetime.datetime.now(datetime.timezone.utc)
    assert abs(left.total_seconds() - seconds) < 15


@pytest.mark.parametrize("keep_alive", [-1, "-1m"])
def test_negative_keep_alive_is_for_ever(client, model, keep_alive):
    client.generate(model, "Hi", options=GREEDY, keep_alive=keep_alive)
    left = client.ps().models[0].expires_at - datetime.datetime.now(datetime.timezone.utc)
    assert left > datetime.timedelta(days=365)
    client.generate(model, "Hi", options=GREEDY, keep_alive="5m")


def test_load_unload_and_load_again(client, model):
    loaded = client.generate(model)
    assert loaded.done and loaded.done_reason == "load" and loaded.response == ""
    unloaded = client.generate(model, keep_alive=0)
    assert unloaded.done_reason == "unload"
    assert client.ps().models == []
    assert client.generate(model, "Hi", options=GREEDY).response
    assert len(client.ps().models) == 1


def test_chat_without_messages_loads_and_unloads(client, model):
    loaded = client.chat(model, [])
    assert loaded.done_reason == "load" and loaded.message.role == "assistant"
    assert client.chat(model, [], keep_alive=0).done_reason == "unload"


def test_keep_alive_zero_unloads_after_an_answer(client, model):
    assert client.chat(model, HELLO, options=GREEDY, keep_alive=0).message.content
    assert client.ps().models == []


def test_bad_keep_alive_is_400(client, model):
    with pytest.raises(ollama.ResponseError) as error:
        client.generate(model, "Hi", keep_alive="bogus")
    assert error.value.status_code == 400
    assert "invalid duration" in error.value.error and "bogus" in error.value.error


def test_show_has_what_clients_read(client, model):
    shown = client.show(model)
    architecture = shown.modelinfo["general.architecture"]
    assert shown.modelinfo[f"{architecture}.context_length"] > 0
    assert shown.modelinfo[f"{architecture}.embedding_length"] > 0
    assert shown.modelinfo["general.parameter_count"] > 0
    assert shown.modelinfo.get("tokenizer.ggml.tokens") is None
    assert "completion" in shown.capabilities
    assert shown.details.format == "gguf" and shown.details.quantization_level
    assert shown.template and shown.modelfile
    assert shown.modified_at


def test_show_accepts_names_with_and_without_tag(client, model):
    bare = model.removesuffix(":latest")
    assert client.show(bare).details == client.show(f"{bare}:latest").details if ":" not in bare else client.show(bare)


def test_show_of_an_unknown_model_is_404(client):
    with pytest.raises(ollama.ResponseError) as error:
        client.show(NO_SUCH_MODEL)
    assert error.value.status_code == 404
    assert NO_SUCH_MODEL in error.value.error and "not found" in error.value.error


def test_pull_of_the_model_that_is_there_succeeds(client, model):
    assert client.pull(model).status == "success"


def test_pull_streams_until_success(client, model):
    parts = list(client.pull(model, stream=True))
    assert parts[-1].status == "success"


def test_pull_of_an_unknown_model_raises(client):
    with pytest.raises(ollama.ResponseError):
        client.pull(NO_SUCH_MODEL)
    with pytest.raises(ollama.ResponseError):
        list(client.pull(NO_SUCH_MODEL, stream=True))


def test_push_of_an_unknown_model_raises(client):
    with pytest.raises(ollama.ResponseError):
        client.push(NO_SUCH_MODEL)


def test_copy_of_an_unknown_model_is_404(client):
    with pytest.raises(ollama.ResponseError) as error:
        client.copy(NO_SUCH_MODEL, "other")
    assert error.value.status_code == 404


def test_delete_of_an_unknown_model_is_404(client):
    with pytest.raises(ollama.ResponseError) as error:
        client.delete(NO_SUCH_MODEL)
    assert error.value.status_code == 404


def test_copy_and_delete_of_the_copy(client, model):
    """A server of one model may refuse to copy it, but not by breaking."""
    try:
        copied = client.copy(model, "client-test-copy")
    except ollama.ResponseError as error:
        assert error.status_code in (400, 403, 405, 501) and error.error
        return
    assert copied.status == "success"
    assert "client-test-copy:latest" in [entry.model for entry in client.list().models]
    assert client.generate("client-test-copy", "Hi", options=GREEDY).response
    assert client.delete("client-test-copy").status == "success"
    assert "client-test-copy:latest" not in [entry.model for entry in client.list().models]


def test_create_from_the_model(client, model):
    """As with copy: a derived model, or a clear refusal."""
    try:
        made = client.create(model="client-test-made", from_=model, system="Be brief.")
    except ollama.ResponseError as error:
        assert error.status_code in (-1, 400, 403, 405, 501) and error.error
        return
    assert made.status == "success"
    assert client.delete("client-test-made").status == "success"


def test_create_blob(client, tmp_path):
    file = tmp_path / "blob"
    file.write_bytes(b"a blob")
    try:
        digest = client.create_blob(file)
    except ollama.ResponseError as error:
        assert error.status_code in (400, 403, 405, 413, 501) and error.error
        return
    assert digest == "sha256:" + hashlib.sha256(b"a blob").hexdigest()


# -- generate -----------------------------------------------------------------------------------------------------------


def test_generate(client, model):
    answer = client.generate(model, "Say hello.", options=GREEDY)
    assert answer.response and answer.done
    assert answer.model in (model, f"{model}:latest", model.removesuffix(":latest"))
    assert answer.done_reason in ("stop", "length")
    assert datetime.datetime.fromisoformat(answer.created_at)
    assert answer.context and all(isinstance(token, int) for token in answer.context)
    assert 0 < answer.eval_count <= GREEDY["num_predict"]
    assert answer.prompt_eval_count > 0
    assert answer.total_duration >= answer.eval_duration > 0
    assert answer.prompt_eval_duration > 0


def test_generate_streams_the_same_text(client, model):
    whole = client.generate(model, "Tell me a story.", options=SEEDED)
    parts = list(client.generate(model, "Tell me a story.", options=SEEDED, stream=True))
    assert joined(parts) == whole.response
    assert len(parts) > 2
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert all(part.total_duration is None and part.done_reason is None for part in parts[:-1])
    last = parts[-1]
    assert last.response == "" and last.done_reason == whole.done_reason
    assert last.eval_count == whole.eval_count and last.prompt_eval_count == whole.prompt_eval_count
    assert last.context == whole.context


def test_generate_applies_the_chat_template(client, model):
    answer = client.generate(model, "Say hi", options=GREEDY)
    assert answer.prompt_eval_count == support.n_prompt_tokens([{"role": "user", "content": "Say hi"}])


def test_generate_system_is_part_of_the_prompt(client, model):
    answer = client.generate(model, "Say hi", system="You are a pirate.", options=GREEDY)
    messages = [{"role": "system", "content": "You are a pirate."}, {"role": "user", "content": "Say hi"}]
    assert answer.prompt_eval_count == support.n_prompt_tokens(messages)


def test_generate_raw_has_no_template_and_no_context(client, model):
    answer = client.generate(model, "The capital of France is", raw=True, options=GREEDY)
    assert answer.prompt_eval_count == support.n_tokens("The capital of France is")
    assert answer.context is None
    assert answer.response


@pytest.mark.parametrize("extra", [{"system": "Be brief."}, {"template": "{{ .Prompt }}"}, {"context": [1, 2, 3]}])
def test_generate_raw_refuses_what_raw_cannot_use(client, model, extra):
    with pytest.raises(ollama.ResponseError) as error:
        client.generate(model, "Hi", raw=True, **extra)
    assert error.value.status_code == 400


def test_generate_with_a_template_of_ones_own(client, model):
    """The simplest template is the prompt alone; a server that cannot read Go templates may refuse, with a reason."""
    try:
        answer = client.generate(model, "The capital of France is", template="{{ .Prompt }}", options=GREEDY)
    except ollama.ResponseError as error:
        assert error.status_code in (400, 501) and "template" in error.error
        return
    assert answer.prompt_eval_count == support.n_tokens("The capital of France is")


def test_generate_goes_on_from_a_context(client, model):
    first = client.generate(model, "My name is Ada.", options=GREEDY)
    alone = client.generate(model, "What is my name?", options=GREEDY)
    second = client.generate(model, "What is my name?", context=first.context, options=GREEDY)
    assert second.prompt_eval_count > alone.prompt_eval_count
    assert second.context[: len(first.context)] == first.context


def test_generate_suffix_without_infill_tokens_is_400(client, model):
    if "insert" in support.capabilities():
        pytest.skip("the model can fill in")
    with pytest.raises(ollama.ResponseError) as error:
        client.generate(model, "def add(", suffix="return c")
    assert error.value.status_code == 400
    assert "does not support insert" in error.value.error


def test_generate_images_on_a_text_model_is_400(client, model, needs_no_vision):
    with pytest.raises(ollama.ResponseError) as error:
        client.generate(model, "What is this?", images=[PIXEL_PNG])
    assert error.value.status_code == 400


def test_think_on_a_model_that_does_not_is_400(client, model):
    if "thinking" in support.capabilities():
        pytest.skip("the model thinks")
    for call in (lambda: client.generate(model, "Hi", think=True), lambda: client.chat(model, HELLO, think="high")):
        with pytest.raises(ollama.ResponseError) as error:
            call()
        assert error.value.status_code == 400
        assert "does not support thinking" in error.value.error


def test_think_false_is_no_error(client, model):
    assert client.generate(model, "Hi", think=False, options=GREEDY).response
    assert client.chat(model, HELLO, think=False, options=GREEDY).message.content


def test_generate_of_an_unknown_model_is_404_so_that_apps_pull(client):
    for stream in (False, True):
        with pytest.raises(ollama.ResponseError) as error:
            answer = client.generate(NO_SUCH_MODEL, "Hi", stream=stream)
            list(answer)
        assert error.value.status_code == 404
        assert error.value.error == f"model '{NO_SUCH_MODEL}' not found"


# -- options ------------------------------------------------------------------------------------------------------------


def test_num_predict_ends_with_length(client, model):
    answer = client.generate(model, "Count to one hundred.", options={"num_predict": 5, "temperature": 0})
    assert answer.eval_count == 5 and answer.done_reason == "length"


def test_stop_is_not_part_of_the_answer(client, model):
    options = {"temperature": 0, "num_predict": 24}
    whole = client.generate(model, "1, 2, 3, 4, 5,", raw=True, options=options).response
    stop = whole[6:9]
    assert len(stop) == 3
    stopped = client.generate(model, "1, 2, 3, 4, 5,", raw=True, options={**options, "stop": [stop]})
    assert stopped.response == whole[: whole.index(stop)]
    assert stopped.done_reason == "stop"
    streamed = list(client.generate(model, "1, 2, 3, 4, 5,", raw=True, options={**options, "stop": [stop]}, stream=True))
    assert joined(streamed) == stopped.response


def test_text_held_back_for_a_stop_is_not_lost_at_the_length_limit(client, model):
    """A stop that begins like the answer's end but never comes: the held text must still be sent."""
    options = {"temperature": 0, "num_predict": 8}
    whole = client.generate(model, "1, 2, 3, 4, 5,", raw=True, options=options).response
    held = {**options, "stop": [whole[-4:] + "never comes"]}
    assert client.generate(model, "1, 2, 3, 4, 5,", raw=True, options=held).response == whole
    assert joined(list(client.generate(model, "1, 2, 3, 4, 5,", raw=True, options=held, stream=True))) == whole


def test_a_seed_repeats_and_another_differs(client, model):
    hot = {"temperature": 1.5, "num_predict": 24, "top_k": 0, "top_p": 1.0}
    texts = [client.generate(model, "Once", raw=True, options={**hot, "seed": seed}).response for seed in (1, 1, 2, 3)]
    assert texts[0] == texts[1]
    assert len(set(texts)) > 1


def test_without_a_seed_answers_vary(client, model):
    hot = {"temperature": 1.5, "num_predict": 24, "top_k": 0, "top_p": 1.0}
    assert len({client.generate(model, "Once", raw=True, options=hot).response for _ in range(4)}) > 1


def test_temperature_zero_is_greedy(client, model):
    texts = {client.generate(model, "Say hello.", options={**GREEDY, "seed": seed}).response for seed in range(3)}
    assert len(texts) == 1
    texts.add(client.generate(model, "Say hello.", options={"top_k": 1, "num_predict": 12}).response)
    texts.add(client.generate(model, "Say hello.", options={"temperature": -1, "num_predict": 12}).response)
    assert len(texts) == 1


def test_every_documented_option_is_accepted(client, model):
    options = ollama.Options(
        num_keep=4, seed=1, num_predict=4, top_k=20, top_p=0.9, min_p=0.0, typical_p=0.7, repeat_last_n=33,
        temperature=0.8, repeat_penalty=1.2, presence_penalty=1.5, frequency_penalty=1.0, penalize_newline=True,
        stop=["\n", "user:"], numa=False, num_ctx=1024, num_batch=2, num_gpu=1, main_gpu=0, use_mmap=True, num_thread=2,
        mirostat=0, mirostat_tau=5.0, mirostat_eta=0.1, tfs_z=1.0,
    )  # fmt: skip
    assert client.generate(model, "Why is the sky blue?", options=options).done


def test_unknown_options_are_ignored(client, model):
    assert client.generate(model, "Hi", options={**GREEDY, "no_such_option": 1, "top_k": None}).done


def test_an_option_of_the_wrong_type_is_400(client, model):
    with pytest.raises(ollama.ResponseError) as error:
        client.generate(model, "Hi", options={"temperature": "hot"})
    assert error.value.status_code == 400
    assert "temperature" in error.value.error


def test_penalties_change_a_repetitive_answer(client, model):
    base = {"temperature": 0, "num_predict": 24}
    prompt = "la la la la la la la la la la"
    plain = client.generate(model, prompt, raw=True, options=base).response
    for penalty in ({"repeat_penalty": 1.8}, {"presence_penalty": 2.0}, {"frequency_penalty": 2.0}):
        assert client.generate(model, prompt, raw=True, options={**base, **penalty}).response != plain, penalty


# -- logprobs -----------------------------------------------------------------------------------------------------------


def test_logprobs_of_every_token(client, model):
    options = {"temperature": 0, "num_predict": 6}
    answer = client.generate(model, "Count to one hundred.", options=options, logprobs=True, top_logprobs=3)
    assert len(answer.logprobs) == answer.eval_count == 6
    assert "".join(entry.token for entry in answer.logprobs) == answer.response
    for entry in answer.logprobs:
        assert entry.logprob <= 0
        assert len(entry.top_logprobs) == 3
        values = [rival.logprob for rival in entry.top_logprobs]
        assert values == sorted(values, reverse=True)
        assert entry.top_logprobs[0].token == entry.token


def test_logprobs_without_rivals(client, model):
    answer = client.chat(model, HELLO, options=GREEDY, logprobs=True)
    assert answer.logprobs and not any(entry.top_logprobs for entry in answer.logprobs)


def test_streamed_logprobs_are_the_same(client, model):
    options = {"temperature": 0, "num_predict": 6}
    whole = client.chat(model, HELLO, options=options, logprobs=True, top_logprobs=2)
    parts = list(client.chat(model, HELLO, options=options, logprobs=True, top_logprobs=2, stream=True))
    streamed = [entry for part in parts for entry in part.logprobs or []]
    assert streamed == list(whole.logprobs)


def test_no_logprobs_unless_asked(client, model):
    assert client.generate(model, "Hi", options=GREEDY).logprobs is None


def test_too_many_top_logprobs_is_400(client, model):
    with pytest.raises(ollama.ResponseError) as error:
        client.generate(model, "Hi", logprobs=True, top_logprobs=21)
    assert error.value.status_code == 400


# -- chat ---------------------------------------------------------------------------------------------------------------


def test_chat(client, model):
    answer = client.chat(model, HELLO, options=GREEDY)
    assert answer.message.role == "assistant" and answer.message.content
    assert answer["message"]["content"] == answer.message.content
    assert answer.done and answer.done_reason in ("stop", "length")
    assert answer.prompt_eval_count == support.n_prompt_tokens(HELLO)
    assert answer.eval_count > 0 and answer.total_duration > 0


def test_chat_streams_the_same_text(client, model):
    whole = client.chat(model, HELLO, options=SEEDED)
    parts = list(client.chat(model, HELLO, options=SEEDED, stream=True))
    assert joined(parts, content) == whole.message.content
    assert all(part.message.role == "assistant" for part in parts)
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].eval_count == whole.eval_count


def test_chat_and_generate_agree(client, model):
    chatted = client.chat(model, [{"role": "user", "content": "Say hello."}], options=GREEDY).message.content
    assert client.generate(model, "Say hello.", options=GREEDY).response == chatted


def test_chat_with_history_and_system(client, model):
    messages = [
        {"role": "system", "content": "You answer in one word."},
        {"role": "user", "content": "The colour of the sky?"},
        ollama.Message(role="assistant", content="Blue."),
        {"role": "user", "content": "And of grass?"},
    ]
    answer = client.chat(model, messages, options=GREEDY)
    assert answer.message.content
    plain = [dict(role=message["role"], content=message["content"]) for message in messages]
    assert answer.prompt_eval_count == support.n_prompt_tokens(plain)


def test_chat_goes_on_from_its_own_answer(client, model):
    first = client.chat(model, HELLO, options=GREEDY)
    second = client.chat(model, [*HELLO, first.message, {"role": "user", "content": "And again."}], options=GREEDY)
    assert second.message.content


def test_chat_accepts_tool_results_in_the_history(client, model):
    messages = [
        {"role": "user", "content": "The weather in Paris?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "get_weather", "arguments": {"city": "Paris"}}}],
        },
        {"role": "tool", "tool_name": "get_weather", "content": "sunny"},
    ]
    assert client.chat(model, messages, options=GREEDY).done


def test_chat_images_on_a_text_model_is_400(client, model, needs_no_vision):
    with pytest.raises(ollama.ResponseError) as error:
        client.chat(model, [{"role": "user", "content": "What is this?", "images": [PIXEL_PNG]}])
    assert error.value.status_code == 400


def get_weather(city: str) -> str:
    """
    The weather of a city.

    Args:
      city (str): name of the city

    Returns:
      str: the weather
    """
    return f"sunny in {city}"


@pytest.mark.parametrize("tool", [get_weather, WEATHER_TOOL], ids=["function", "schema"])
@pytest.mark.parametrize("stream", [False, True])
def test_tools_without_a_template_for_them_is_400(client, model, needs_no_tools, tool, stream):
    with pytest.raises(ollama.ResponseError) as error:
        answer = client.chat(model, HELLO, tools=[tool], stream=stream)
        list(answer)
    assert error.value.status_code == 400
    assert "does not support tools" in error.value.error


def test_tools_call_a_function(client, model, needs_tools):
    asked = [{"role": "user", "content": "What is the weather in Paris? Use the tool."}]
    answer = client.chat(model, asked, tools=[get_weather], options={"temperature": 0, "num_predict": 256})
    for call in answer.message.tool_calls or []:
        assert call.function.name == "get_weather" and isinstance(call.function.arguments, dict)


def test_an_empty_list_of_tools_is_no_tools(client, model):
    assert client.chat(model, HELLO, tools=[], options=GREEDY).message.content


def test_a_prompt_longer_than_the_context_is_cut(client, model):
    """Ollama keeps the system message and the newest messages, and answers."""
    context = client.ps().models[0].context_length if client.ps().models else 0
    if not context:
        client.generate(model)
        context = client.ps().models[0].context_length
    n_words = min(context, 16384) // 8
    turns = [{"role": "user", "content": "word " * n_words}] * 9
    if context > 16384:
        turns *= context // 16384 + 1
    answer = client.chat(model, [*turns, *HELLO], options={"num_predict": 1, "temperature": 0})
    assert answer.done and answer.prompt_eval_count <= context


# -- format -------------------------------------------------------------------------------------------------------------


def test_format_json(client, model):
    answer = client.chat(
        model,
        [{"role": "user", "content": "A JSON object with the key ok that is true."}],
        format="json",
        options={"temperature": 0, "num_predict": 200},
    )
    text = answer.message.content
    assert text.lstrip()[0] in "{["
    if answer.done_reason == "stop":
        json.loads(text)


@pytest.mark.parametrize("stream", [False, True])
def test_format_schema(client, model, stream):
    options = {"temperature": 0, "num_predict": 128}
    asked = [{"role": "user", "content": "Describe a frog as JSON."}]
    answer = client.chat(model, asked, format=PERSON_SCHEMA, options=options, stream=stream)
    text = joined(list(answer), content) if stream else answer.message.content
    value = json.loads(text)
    assert value["colour"] in ("red", "green", "blue") and isinstance(value["alive"], bool)
    assert set(value) == {"colour", "alive"}


def test_generate_with_a_schema(client, model):
    answer = client.generate(
        model, "Describe a frog.", format=PERSON_SCHEMA, options={"temperature": 0, "num_predict": 128}
    )
    assert set(json.loads(answer.response)) == {"colour", "alive"}
    assert answer.done_reason == "stop"


def test_an_empty_format_is_none(client, model):
    assert client.generate(model, "Hi", format="", options=GREEDY).response


# -- embeddings ---------------------------------------------------------------------------------------------------------


def norm(vector):
    return sum(value * value for value in vector) ** 0.5


def test_embed_one_and_many(client, model):
    one = client.embed(model, "Hello world")
    many = client.embed(model, ["Hello world", "Something else entirely, and longer"])
    assert len(one.embeddings) == 1 and len(many.embeddings) == 2
    assert one.embeddings[0] == pytest.approx(many.embeddings[0], abs=1e-3)
    assert many.embeddings[0] != pytest.approx(many.embeddings[1], abs=1e-2)
    assert all(norm(vector) == pytest.approx(1, abs=1e-3) for vector in many.embeddings)
    assert many.prompt_eval_count > one.prompt_eval_count > 0
    assert one.total_duration > 0
    width = client.show(model).modelinfo
    assert len(one.embeddings[0]) == width[f"{width['general.architecture']}.embedding_length"]


def test_embed_nothing(client, model):
    assert client.embed(model, []).embeddings == []


def test_embed_dimensions(client, model):
    cut = client.embed(model, "Hello world", dimensions=32).embeddings[0]
    assert len(cut) == 32 and norm(cut) == pytest.approx(1, abs=1e-3)


def test_embed_truncates_unless_told_not_to(client, model):
    client.generate(model)
    long = "word " * (client.ps().models[0].context_length + 64)
    assert len(client.embed(model, long).embeddings) == 1
    with pytest.raises(ollama.ResponseError) as error:
        client.embed(model, long, truncate=False)
    assert error.value.status_code == 400


def test_old_embeddings(client, model):
    assert norm(client.embeddings(model, "Hello world").embedding) > 0
    assert client.embeddings(model, "").embedding == []


def test_embed_of_an_unknown_model_is_404(client):
    with pytest.raises(ollama.ResponseError) as error:
        client.embed(NO_SUCH_MODEL, "Hi")
    assert error.value.status_code == 404


# -- unicode, cancelling, many at once ----------------------------------------------------------------------------------


def test_streams_never_split_a_character(client, model):
    options = {"temperature": 0.7, "seed": 5, "num_predict": 60}
    whole = client.generate(model, UNICODE_PROMPT, raw=True, options=options).response
    parts = list(client.generate(model, UNICODE_PROMPT, raw=True, options=options, stream=True))
    assert all(support.is_unbroken(part.response) for part in parts)
    assert joined(parts) == whole


@pytest.mark.parametrize("n_predict", range(1, 8))
def test_text_cut_in_a_character_has_no_replacement(client, model, n_predict):
    answer = client.generate(
        model, UNICODE_PROMPT, raw=True, options={"temperature": 0, "num_predict": n_predict}
    ).response
    assert support.is_unbroken(answer)


def test_unicode_goes_through_the_template(client, model):
    assert client.chat(model, [{"role": "user", "content": UNICODE_PROMPT}], options=GREEDY).done


def test_cancelled_streams_free_their_slots(client, model):
    for _ in range(5):
        stream = client.generate(model, "Write a very long story.", options={"num_predict": 2000}, stream=True)
        next(stream)
        stream.close()
    support.wait_until_idle()
    assert client.generate(model, "Hi", options=GREEDY).done


def test_async_calls(make_async, model):
    async def calls():
        client = make_async()
        assert (await client.list()).models
        assert (await client.show(model)).modelinfo
        generated = await client.generate(model, "Say hello.", options=GREEDY)
        streamed = [part async for part in await client.generate(model, "Say hello.", options=GREEDY, stream=True)]
        assert joined(streamed) == generated.response
        chatted = await client.chat(model, HELLO, options=GREEDY)
        parts = [part async for part in await client.chat(model, HELLO, options=GREEDY, stream=True)]
        assert joined(parts, content) == chatted.message.content
        assert len((await client.embed(model, ["a", "b"])).embeddings) == 2
        assert (await client.embeddings(model, "a")).embedding
        assert (await client.ps()).models
        assert (await client.pull(model)).status == "success"
        with pytest.raises(ollama.ResponseError) as error:
            await client.chat(NO_SUCH_MODEL, HELLO)
        assert error.value.status_code == 404

    support.run_async(calls())


def test_many_at_once_answer_as_one_alone(make_async, client, model):
    prompts = [f"Tell me about the number {n}." for n in range(12)]
    alone = [client.generate(model, prompt, options=GREEDY).response for prompt in prompts]

    async def together():
        shared = make_async()
        return await asyncio.gather(*(shared.generate(model, prompt, options=GREEDY) for prompt in prompts))

    assert [answer.response for answer in support.run_async(together())] == alone


def test_the_module_finds_the_server_by_ollama_host(model):
    code = "import ollama, sys; print(ollama.chat(sys.argv[1], [{'role': 'user', 'content': 'Hi'}], options={'num_predict': 4}).done)"
    environment = {**os.environ, "OLLAMA_HOST": support.URL}
    done = subprocess.run([sys.executable, "-c", code, model], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr
