"""The OpenAI API as bytes: chunk shapes, `[DONE]`, error objects, and what is left out."""

import base64
import json

import pytest
import support
import wire

HELLO = [{"role": "user", "content": "Say hello."}]
SSE = "text/event-stream"


def chat(**more):
    return {"model": support.model(), "messages": HELLO, "temperature": 0, "max_tokens": 6, **more}


def completion(**more):
    return {"model": support.model(), "prompt": "1, 2, 3,", "temperature": 0, "max_tokens": 6, **more}


def response(**more):
    return {"model": support.model(), "input": "Say hello.", "temperature": 0, "max_output_tokens": 48, **more}


CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"
BODIES = {CHAT: chat, COMPLETIONS: completion, RESPONSES: response}
all_three = pytest.mark.parametrize("path", BODIES)
both = pytest.mark.parametrize("path", [CHAT, COMPLETIONS])


def chunks_of(answer):
    events = answer.events
    assert events[-1] == (None, "[DONE]")
    assert all(name is None for name, _ in events), "no event has a name"
    return [json.loads(data) for _, data in events[:-1]]


# -- framing ------------------------------------------------------------------------------------------------------------


@all_three
def test_not_streaming_is_the_default(path):
    answer = wire.post(path, BODIES[path]())
    assert answer.status == 200 and answer.kind.startswith("application/json")
    assert int(answer.headers["content-length"]) == len(answer.body)


@all_three
def test_streaming_is_sse_in_pieces(path):
    answer = wire.post(path, BODIES[path](stream=True))
    assert answer.status == 200 and answer.kind.startswith(SSE)
    assert answer.headers["transfer-encoding"] == "chunked" and len(answer.chunks) > 2
    assert "no-cache" in answer.headers.get("cache-control", "no-cache")


@both
def test_the_stream_ends_in_done(path):
    assert wire.post(path, BODIES[path](stream=True)).body.endswith(b"data: [DONE]\n\n")


@both
def test_each_event_is_one_data_line(path):
    body = wire.post(path, BODIES[path](stream=True)).body
    blocks = body.split(b"\n\n")
    assert blocks[-1] == b"" and b"\r" not in body
    assert all(block.startswith((b"data: ", b":")) and b"\n" not in block for block in blocks[:-1])


def test_chat_chunks():
    chunks = chunks_of(wire.post(CHAT, chat(stream=True)))
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1 and chunks[0]["id"].startswith("chatcmpl-")
    assert all(isinstance(chunk["created"], int) and chunk["model"] == support.model() for chunk in chunks)
    assert all("system_fingerprint" in chunk for chunk in chunks)
    first, *_, last = [chunk["choices"][0] for chunk in chunks]
    assert first["delta"]["role"] == "assistant"
    assert last["delta"] == {} and last["finish_reason"] == "length"
    for chunk in chunks[:-1]:
        assert chunk["choices"][0]["finish_reason"] is None, "null is written, not left out"
        assert chunk["choices"][0]["index"] == 0
    assert not any(chunk.get("usage") for chunk in chunks)


def test_chat_usage_chunk():
    chunks = chunks_of(wire.post(CHAT, chat(stream=True, stream_options={"include_usage": True})))
    assert chunks[-1]["choices"] == []
    usage = chunks[-1]["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] == 6
    assert not any(chunk.get("usage") for chunk in chunks[:-1])


def test_chat_object():
    answer = wire.post(CHAT, chat()).json
    assert set(answer) >= {"id", "object", "created", "model", "system_fingerprint", "choices", "usage"}
    assert answer["choices"][0]["message"]["role"] == "assistant"
    assert "tool_calls" not in answer["choices"][0]["message"] or answer["choices"][0]["message"]["tool_calls"] is None
    assert answer["choices"][0]["finish_reason"] == "length"


def test_completion_chunks():
    chunks = chunks_of(wire.post(COMPLETIONS, completion(stream=True)))
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert all(isinstance(chunk["choices"][0]["text"], str) for chunk in chunks)
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks[:-1])


def test_completion_is_raw_text():
    prompt = "The capital of France is"
    answer = wire.post(COMPLETIONS, completion(prompt=prompt)).json
    assert answer["usage"]["prompt_tokens"] == support.n_tokens(prompt)
    assert answer["id"].startswith("cmpl-") and "logprobs" in answer["choices"][0]


def test_models():
    answer = wire.call("GET", "/v1/models")
    assert answer.status == 200 and answer.json["object"] == "list"
    for entry in answer.json["data"]:
        assert entry["object"] == "model" and isinstance(entry["created"], int) and entry["owned_by"]


def test_model_ids_are_names_that_the_server_takes():
    """Codex looks for the model's name among the ids."""
    ids = [entry["id"] for entry in wire.call("GET", "/v1/models").json["data"]]
    names = [entry["name"] for entry in wire.call("GET", "/api/tags").json["models"]]
    assert set(ids) & {*names, *(name.removesuffix(":latest") for name in names)}
    for id_ in ids:
        assert wire.call("GET", f"/v1/models/{id_}").json["id"] == id_


def test_embeddings():
    answer = wire.post(EMBEDDINGS, {"model": support.model(), "input": ["a", "b"]}).json
    assert answer["object"] == "list" and answer["model"] == support.model()
    assert [(entry["object"], entry["index"]) for entry in answer["data"]] == [("embedding", 0), ("embedding", 1)]
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"]


def test_embeddings_base64():
    answer = wire.post(EMBEDDINGS, {"model": support.model(), "input": "a", "encoding_format": "base64"}).json
    floats = wire.post(EMBEDDINGS, {"model": support.model(), "input": "a", "encoding_format": "float"}).json
    assert len(base64.b64decode(answer["data"][0]["embedding"])) == 4 * len(floats["data"][0]["embedding"])


@pytest.mark.parametrize("body", [{"input": ""}, {"input": []}, {}, {"input": 5}, {"input": [[]]}, {"input": [10**9]}], ids=str)
def test_embeddings_of_nothing_useful_are_400_or_empty_but_never_5xx(body):
    answer = wire.post(EMBEDDINGS, {"model": support.model(), **body})
    assert answer.status in (200, 400)
    if answer.status == 400:
        assert answer.json["error"]["message"]


# -- responses ----------------------------------------------------------------------------------------------------------


def test_response_events_are_named_by_their_type_and_numbered():
    events = wire.post(RESPONSES, response(stream=True)).events
    parsed = [json.loads(data) for _, data in events]
    assert [name for name, _ in events] == [event["type"] for event in parsed]
    assert [event["sequence_number"] for event in parsed] == list(range(len(parsed)))
    assert "[DONE]" not in [data for _, data in events]


def test_response_events_carry_their_indexes():
    for _, data in wire.post(RESPONSES, response(stream=True)).events:
        event = json.loads(data)
        if "output_item" in event["type"]:
            assert event["output_index"] == 0 and event["item"]["id"].startswith("msg_")
        if "output_text" in event["type"] or "content_part" in event["type"]:
            assert event["output_index"] == 0 and event["content_index"] == 0
            assert event["item_id"].startswith("msg_")
        if event["type"].startswith("response.output_text"):
            assert event["logprobs"] == []
        if "response" in event:
            assert event["response"]["object"] == "response"


def test_response_object():
    answer = wire.post(RESPONSES, response()).json
    assert set(answer) >= {"id", "object", "created_at", "status", "model", "output", "usage", "error", "incomplete_details"}
    message = answer["output"][0]
    assert set(message) >= {"type", "id", "role", "status", "content"}
    assert message["content"][0].keys() >= {"type", "text", "annotations"}
    assert answer["usage"]["input_tokens_details"]["cached_tokens"] >= 0
    assert isinstance(answer["parallel_tool_calls"], bool) and answer["tools"] == [] and answer["tool_choice"]


# -- errors -------------------------------------------------------------------------------------------------------------

ERRORS = {
    "bad JSON": (CHAT, b"{bad", 400, "invalid_request_error"),
    "no body": (CHAT, b"", 400, "invalid_request_error"),
    "array": (CHAT, b"[]", 400, "invalid_request_error"),
    "not UTF-8": (CHAT, b'{"model": "\xff"}', 400, "invalid_request_error"),
    "unknown model": (CHAT, {"model": "nope", "messages": HELLO}, 404, "not_found_error"),
    "unknown model, streaming": (CHAT, {"model": "nope", "messages": HELLO, "stream": True}, 404, "not_found_error"),
    "unknown model in completions": (COMPLETIONS, {"model": "nope", "prompt": "Hi"}, 404, "not_found_error"),
    "unknown model in embeddings": (EMBEDDINGS, {"model": "nope", "input": "Hi"}, 404, "not_found_error"),
    "unknown model in responses": (RESPONSES, {"model": "nope", "input": "Hi"}, 404, "not_found_error"),
    "no messages": (CHAT, {"model": "MODEL", "messages": []}, 400, "invalid_request_error"),
    "messages missing": (CHAT, {"model": "MODEL"}, 400, "invalid_request_error"),
    "messages of a wrong type": (CHAT, {"model": "MODEL", "messages": 5}, 400, "invalid_request_error"),
    "role missing": (CHAT, {"model": "MODEL", "messages": [{"content": "x"}]}, 400, "invalid_request_error"),
    "temperature of a wrong type": (CHAT, {"model": "MODEL", "messages": HELLO, "temperature": "x"}, 400, "invalid_request_error"),
    "max_tokens of a wrong type": (CHAT, {"model": "MODEL", "messages": HELLO, "max_tokens": "x"}, 400, "invalid_request_error"),
    "stream of a wrong type": (CHAT, {"model": "MODEL", "messages": HELLO, "stream": "x"}, 400, "invalid_request_error"),
    "bad part": (
        CHAT,
        {"model": "MODEL", "messages": [{"role": "user", "content": [{"type": "nonsense"}]}]},
        400,
        "invalid_request_error",
    ),
    "token beyond the vocabulary": (COMPLETIONS, {"model": "MODEL", "prompt": [10**9]}, 400, "invalid_request_error"),
    "negative token": (COMPLETIONS, {"model": "MODEL", "prompt": [-1]}, 400, "invalid_request_error"),
    "prompt of a wrong type": (COMPLETIONS, {"model": "MODEL", "prompt": {"a": 1}}, 400, "invalid_request_error"),
    "input of a wrong type": (RESPONSES, {"model": "MODEL", "input": 5}, 400, "invalid_request_error"),
    "previous response": (RESPONSES, {"model": "MODEL", "input": "Hi", "previous_response_id": "resp_1"}, None, None),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_error(name):
    path, body, status, type_ = ERRORS[name]
    if isinstance(body, dict) and body["model"] == "MODEL":
        body = {**body, "model": support.model()}
    answer = wire.post(path, body)
    assert answer.status == status or (status is None and answer.status in (400, 404)), answer.text
    assert answer.kind.startswith("application/json")
    error = answer.json["error"]
    assert isinstance(error, dict) and set(error) >= {"message", "type"}
    assert isinstance(error["message"], str) and error["message"]
    assert type_ is None or error["type"] == type_


def test_a_prompt_over_the_context_is_400_with_the_numbers():
    """Unlike Ollama's API, OpenAI's clients expect an error here."""
    wire.post("/api/generate", {"model": support.model(), "stream": False})
    context = wire.call("GET", "/api/ps").json["models"][0]["context_length"]
    answer = wire.post(COMPLETIONS, completion(prompt="word " * (context + 100)))
    assert answer.status == 400
    assert answer.json["error"]["type"] in ("exceed_context_size_error", "invalid_request_error")
    assert str(context) in answer.text


@pytest.mark.parametrize("method", ["GET", "PUT"])
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, EMBEDDINGS])
def test_wrong_methods_are_405(method, path):
    assert wire.call(method, path, b"{}" if method == "PUT" else None).status == 405


def test_unknown_paths_are_404():
    assert wire.call("POST", "/v1/nothing", {}).status == 404


# -- sampling facts -----------------------------------------------------------------------------------------------------


def test_text_held_back_for_a_stop_is_sent_at_the_length_limit():
    """A reference server loses this text in its stream."""
    whole = wire.post(COMPLETIONS, completion()).json["choices"][0]["text"]
    held = completion(stop=[whole[-3:] + "never comes"])
    assert wire.post(COMPLETIONS, held).json["choices"][0]["text"] == whole
    chunks = chunks_of(wire.post(COMPLETIONS, {**held, "stream": True}))
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == whole


@pytest.mark.parametrize("n_tokens", range(1, 9))
def test_no_replacement_character_where_text_is_cut(n_tokens):
    """A reference server ends its whole answers in U+FFFD here, and drops it in the stream."""
    body = completion(prompt=support.UNICODE_PROMPT, max_tokens=n_tokens)
    whole = wire.post(COMPLETIONS, body).json["choices"][0]["text"]
    streamed = "".join(c["choices"][0]["text"] for c in chunks_of(wire.post(COMPLETIONS, {**body, "stream": True})))
    assert support.is_unbroken(whole) and streamed == whole


@pytest.mark.parametrize("temperature", [0, 1e-9, 2])
def test_every_temperature_answers(temperature):
    assert wire.post(CHAT, chat(temperature=temperature)).status == 200


@pytest.mark.parametrize("body", [{"top_p": 0}, {"top_p": 1e-12}, {"top_p": 1}, {"seed": -1}, {"seed": 2**63 - 1}, {"seed": None}], ids=str)
def test_edges_of_sampling_answer(body):
    assert wire.post(CHAT, chat(**body)).status == 200
