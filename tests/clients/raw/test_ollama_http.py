"""The Ollama API as bytes: framing, which fields stand where, and the exact texts of errors."""

import json
import re

import pytest
import support
import wire
from support import NO_SUCH_MODEL

SHORT = {"options": {"temperature": 0, "num_predict": 6}}
HELLO = [{"role": "user", "content": "Say hello."}]
NDJSON = "application/x-ndjson"
JSON = "application/json; charset=utf-8"
METRICS = ["total_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration"]
RFC3339 = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$")


def generate(**more):
    return {"model": support.model(), "prompt": "Say hello.", **SHORT, **more}


def chat(**more):
    return {"model": support.model(), "messages": HELLO, **SHORT, **more}


BODIES = {"/api/generate": generate, "/api/chat": chat}
both = pytest.mark.parametrize("path", BODIES)


# -- plain answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_root_says_that_it_runs(method):
    answer = wire.call(method, "/")
    assert answer.status == 200 and answer.kind.startswith("text/plain")
    assert answer.body == (b"Ollama is running" if method == "GET" else b"")


@pytest.mark.parametrize("path", ["/", "/api/version", "/api/tags"])
def test_head_has_the_headers_and_no_body(path):
    got = wire.call("GET", path)
    with wire.connect(3) as connection:
        connection.sendall(wire.request_bytes("HEAD", path, headers={"Connection": "close"}))
        data = b""
        while piece := connection.recv(65536):
            data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200") and body == b""
    assert got.kind.encode() in head


def test_version_is_one_that_copilot_accepts():
    answer = wire.call("GET", "/api/version")
    assert answer.status == 200 and answer.kind == JSON
    numbers = tuple(int(number) for number in re.match(r"(\d+)\.(\d+)\.(\d+)", answer.json["version"]).groups())
    assert numbers >= (0, 6, 4)


def test_version_makes_codex_use_responses():
    """From 0.13.4 on, Codex calls /v1/responses, which this server has; below that it falls back to chat."""
    version = wire.call("GET", "/api/version").json["version"]
    assert tuple(int(number) for number in re.match(r"(\d+)\.(\d+)\.(\d+)", version).groups()) >= (0, 13, 4)


def test_tags():
    answer = wire.call("GET", "/api/tags")
    assert answer.status == 200 and answer.kind == JSON
    for entry in answer.json["models"]:
        assert set(entry) >= {"name", "model", "modified_at", "size", "digest", "details", "capabilities"}
        assert entry["name"] == entry["model"] and ":" in entry["name"]
        assert re.fullmatch(r"[0-9a-f]{64}", entry["digest"])
        assert RFC3339.match(entry["modified_at"])
        assert isinstance(entry["size"], int)
        details = entry["details"]
        assert set(details) >= {"parent_model", "format", "family", "families", "parameter_size", "quantization_level"}
        assert details["context_length"] > 0 and details["embedding_length"] > 0
        assert re.fullmatch(r"[\d.]+[KMBT]", details["parameter_size"])
        assert "completion" in entry["capabilities"]


def test_ps():
    wire.post("/api/generate", generate(stream=False))
    entry = wire.call("GET", "/api/ps").json["models"][0]
    assert set(entry) >= {"name", "model", "size", "digest", "details", "expires_at", "size_vram", "context_length"}
    assert RFC3339.match(entry["expires_at"])


@pytest.mark.parametrize("field", ["model", "name"])
def test_show_by_the_new_and_the_old_field(field):
    answer = wire.post("/api/show", {field: support.model()})
    assert answer.status == 200 and answer.kind == JSON
    shown = answer.json
    assert set(shown) >= {"modelfile", "template", "details", "model_info", "capabilities", "modified_at"}
    assert isinstance(shown["model_info"]["general.parameter_count"], int)
    assert shown["model_info"].get("general.basename") is None or isinstance(shown["model_info"]["general.basename"], str)
    assert RFC3339.match(shown["modified_at"])
    for name in ("tokens", "merges", "token_type"):
        assert shown["model_info"].get(f"tokenizer.ggml.{name}") is None


def test_show_verbose_has_the_vocabulary():
    shown = wire.post("/api/show", {"model": support.model(), "verbose": True}).json
    assert len(shown["model_info"]["tokenizer.ggml.tokens"]) > 1000


def test_show_parameters_are_lines_that_continue_reads():
    parameters = wire.post("/api/show", {"model": support.model()}).json.get("parameters") or ""
    for line in parameters.splitlines():
        match = re.match(r'^(\S+)\s+((?:".*")|\S+)$', line)
        assert match, line
        if match.group(1) == "stop":
            assert isinstance(json.loads(match.group(2)), str)


def test_show_template_tells_whether_infill_works():
    shown = wire.post("/api/show", {"model": support.model()}).json
    assert (".Suffix" in shown["template"]) == ("insert" in shown["capabilities"])


# -- framing ------------------------------------------------------------------------------------------------------------


@both
def test_streaming_is_the_default_and_ndjson(path):
    answer = wire.post(path, BODIES[path]())
    assert answer.status == 200 and answer.kind == NDJSON
    assert answer.headers["transfer-encoding"] == "chunked" and "content-length" not in answer.headers
    assert len(answer.lines) > 2 and answer.lines[-1]["done"] is True


@both
def test_every_line_ends_in_a_line_end_and_is_one_object(path):
    answer = wire.post(path, BODIES[path]())
    assert answer.body.endswith(b"\n") and b"\n\n" not in answer.body and b"\r" not in answer.body
    assert all(isinstance(line, dict) for line in answer.lines)


@both
def test_tokens_arrive_one_by_one_and_not_in_one_piece(path):
    assert len(wire.post(path, BODIES[path]()).chunks) > 2


@both
def test_not_streaming_is_one_object_with_a_length(path):
    answer = wire.post(path, BODIES[path](stream=False))
    assert answer.status == 200 and answer.kind == JSON
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert answer.json["done"] is True


@both
def test_stream_null_is_the_default(path):
    assert wire.post(path, BODIES[path](stream=None)).kind == NDJSON


@both
@pytest.mark.parametrize("stream", [False, True])
def test_metrics_and_reason_stand_on_the_last_object_alone(path, stream):
    answer = wire.post(path, BODIES[path](stream=stream))
    lines = answer.lines if stream else [answer.json]
    for line in lines[:-1]:
        assert line["done"] is False
        assert not any(name.endswith(("_duration", "_count")) for name in line) and "done_reason" not in line
    assert lines[-1]["done_reason"] == "length"
    for name in METRICS:
        assert isinstance(lines[-1][name], int) and lines[-1][name] > 0, name
    assert lines[-1].get("load_duration") != 0, "a duration of zero is left out"
    # Nanoseconds: no answer takes less than a tenth of a millisecond or more than ten minutes.
    assert 100_000 < lines[-1]["total_duration"] < 600_000_000_000


@both
def test_created_at_is_rfc_3339(path):
    assert all(RFC3339.match(line["created_at"]) for line in wire.post(path, BODIES[path]()).lines)


@both
def test_model_is_what_was_asked_for(path):
    assert {line["model"] for line in wire.post(path, BODIES[path]()).lines} == {support.model()}


def test_generate_lines_have_response_and_the_last_has_context():
    lines = wire.post("/api/generate", generate()).lines
    assert all(isinstance(line["response"], str) for line in lines) and lines[-1]["response"] == ""
    assert all("context" not in line for line in lines[:-1])
    assert lines[-1]["context"] and all(isinstance(token, int) for token in lines[-1]["context"])


def test_generate_raw_has_no_context():
    assert all("context" not in line for line in wire.post("/api/generate", generate(raw=True)).lines)


def test_chat_lines_have_a_message_with_a_role_and_no_context():
    """Continue and the AI SDK read role and content of every line, the last included."""
    lines = wire.post("/api/chat", chat()).lines
    assert all(line["message"]["role"] == "assistant" and isinstance(line["message"]["content"], str) for line in lines)
    assert not any("context" in line for line in lines)
    assert lines[-1]["message"]["content"] == ""


def test_chat_has_no_thinking_and_no_tool_calls_when_there_are_none():
    for line in wire.post("/api/chat", chat()).lines:
        assert "thinking" not in line["message"] and not line["message"].get("tool_calls")


def test_each_line_carries_the_logprobs_of_its_own_tokens():
    lines = wire.post("/api/generate", generate(logprobs=True)).lines
    spelled = ["".join(entry["token"] for entry in line.get("logprobs", [])) for line in lines]
    assert spelled == [line["response"] for line in lines]


def test_logprobs_have_bytes_or_text():
    answer = wire.post("/api/generate", generate(logprobs=True, top_logprobs=1, stream=False)).json
    for entry in answer["logprobs"]:
        assert set(entry) >= {"token", "logprob", "top_logprobs"}


@pytest.mark.parametrize("type_", ["application/x-www-form-urlencoded", "text/plain", None], ids=str)
def test_the_body_is_read_whatever_its_type(type_):
    headers = {"Content-Type": type_} if type_ else {"Content-Type": ""}
    assert wire.post("/api/generate", generate(stream=False), headers).status == 200


def test_a_get_with_a_content_type_is_answered():
    """Open WebUI sends one."""
    assert wire.call("GET", "/api/tags", headers={"Content-Type": "application/json"}).status == 200


def test_a_connection_is_used_again():
    with wire.connect() as connection, connection.makefile("rb") as stream:
        for method, path, body in [
            ("GET", "/api/tags", None),
            ("POST", "/api/generate", generate()),
            ("POST", "/api/nothing", {}),
            ("GET", "/api/ps", None),
            ("POST", "/api/chat", chat(stream=False)),
        ]:
            connection.sendall(wire.request_bytes(method, path, body))
            answer = wire.read_answer(stream, method)
            assert answer.status == (404 if "nothing" in path else 200)


def test_a_chunked_request_is_read():
    body = json.dumps(generate(stream=False)).encode()
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(body[i : i + 7]), body[i : i + 7]) for i in range(0, len(body), 7))
    with wire.connect() as connection, connection.makefile("rb") as stream:
        fields = {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}
        connection.sendall(wire.head_bytes("POST", "/api/generate", fields) + pieces + b"0\r\n\r\n")
        assert wire.read_answer(stream).status == 200


def test_expect_100_continue():
    """curl sends it with bodies over a megabyte, and waits for the answer before the body."""
    body = json.dumps(generate(stream=False)).encode()
    fields = {"Content-Length": len(body), "Content-Type": "application/json", "Expect": "100-continue"}
    with wire.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(wire.head_bytes("POST", "/api/generate", fields))
        assert stream.readline().startswith(b"HTTP/1.1 100")
        assert stream.readline() == b"\r\n"
        connection.sendall(body)
        assert wire.read_answer(stream).status == 200


# -- states -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "empty"), [("/api/generate", {}), ("/api/generate", {"prompt": ""}), ("/api/chat", {"messages": []}), ("/api/chat", {})], ids=str
)
def test_empty_prompt_loads_with_one_object(path, empty, stream):
    answer = wire.post(path, {"model": support.model(), "stream": stream, **empty})
    lines = answer.lines if stream and answer.kind == NDJSON else [answer.json]
    assert len(lines) == 1
    assert lines[0]["done"] is True and lines[0]["done_reason"] == "load"
    if path == "/api/chat":
        assert lines[0]["message"] == {"role": "assistant", "content": ""}
    else:
        assert lines[0]["response"] == ""


def test_empty_prompt_with_keep_alive_zero_unloads():
    answer = wire.post("/api/generate", {"model": support.model(), "keep_alive": 0, "stream": False})
    assert answer.json["done_reason"] == "unload"
    assert wire.call("GET", "/api/ps").json == {"models": []}
    assert wire.post("/api/generate", generate(stream=False)).status == 200


@pytest.mark.parametrize("n_predict", [0, -1])
def test_num_predict_zero_and_minus_one_answer_in_full(n_predict):
    options = {"temperature": 0, "num_predict": n_predict, "stop": ["\n"]}
    body = {"model": support.model(), "prompt": "Say hello.", "options": options, "stream": False}
    answer = wire.post("/api/generate", body).json
    assert answer["done_reason"] == "stop" and answer["eval_count"] > 1


@pytest.mark.parametrize("option", [{"num_predict": 3.7}, {"top_k": 40.0}], ids=str)
def test_a_float_for_a_whole_number_is_cut(option):
    options = {"temperature": 0, "num_predict": 3, **option}
    answer = wire.post("/api/generate", {**generate(stream=False), "options": options})
    assert answer.status == 200 and answer.json["eval_count"] == 3


@pytest.mark.parametrize("role", ["USER", "System", "nonsense"])
def test_roles_in_capitals_and_unknown_ones_are_accepted(role):
    assert wire.post("/api/chat", chat(messages=[{"role": role, "content": "Hi"}, *HELLO], stream=False)).status == 200


@pytest.mark.parametrize("extra", [{"images": []}, {"tool_calls": []}, {"thinking": ""}, {"images": None}], ids=str)
def test_empty_fields_of_messages_are_none(extra):
    """litellm sends an empty list of images with every message."""
    message = {"role": "user", "content": "Hi", **extra}
    assert wire.post("/api/chat", chat(messages=[message], stream=False)).status == 200


def test_embed():
    answer = wire.post("/api/embed", {"model": support.model(), "input": ["a", "b"]})
    assert answer.status == 200 and answer.kind == JSON
    assert len(answer.json["embeddings"]) == 2
    assert answer.json["model"] == support.model()
    # The AI SDK's provider of Ollama refuses an answer without these three.
    for name in ("total_duration", "load_duration", "prompt_eval_count"):
        assert isinstance(answer.json[name], int) and answer.json[name] >= 0, name


@pytest.mark.parametrize("body", [{"input": []}, {}], ids=str)
def test_embed_of_nothing(body):
    answer = wire.post("/api/embed", {"model": support.model(), **body})
    assert answer.status == 200 and answer.json["embeddings"] == []


def test_old_embeddings_of_nothing():
    assert wire.post("/api/embeddings", {"model": support.model(), "prompt": ""}).json == {"embedding": []}


@pytest.mark.parametrize("field", ["model", "name"])
@pytest.mark.parametrize("stream", [None, True])
def test_pull_of_the_model_that_is_there(field, stream):
    answer = wire.post("/api/pull", {field: support.model(), "stream": stream})
    assert answer.status == 200 and answer.kind == NDJSON
    assert answer.lines[-1] == {"status": "success"} and all("status" in line for line in answer.lines)


def test_pull_not_streaming():
    answer = wire.post("/api/pull", {"model": support.model(), "stream": False})
    assert answer.status == 200 and answer.json == {"status": "success"}


def test_pull_of_an_unknown_model_is_an_error_line_with_status_200():
    answer = wire.post("/api/pull", {"model": NO_SUCH_MODEL})
    assert answer.status == 200
    assert isinstance(answer.lines[-1]["error"], str)


def test_an_unknown_blob_is_404():
    assert wire.call("HEAD", "/api/blobs/sha256:" + "0" * 64).status == 404


def test_a_blob_whose_digest_is_wrong_is_refused():
    """Or all blobs are, by a server that takes none."""
    answer = wire.call("POST", "/api/blobs/sha256:" + "0" * 64, b"something else")
    assert 400 <= answer.status < 500 or answer.status == 501


@pytest.mark.parametrize("path", ["/api/me", "/api/status"])
def test_the_cloud_is_not_here(path):
    assert wire.call("POST" if path == "/api/me" else "GET", path).status in (401, 404, 405)


# -- errors -------------------------------------------------------------------------------------------------------------

INVALID_FORMAT = 'invalid format: "\\"xml\\""; expected "json" or a valid JSON Schema object'
ERRORS = {
    "bad JSON": ("/api/generate", b"{bad", 400, "invalid character 'b' looking for beginning of object key string"),
    "bad JSON in chat": ("/api/chat", b"{bad", 400, "invalid character 'b' looking for beginning of object key string"),
    "no body": ("/api/generate", b"", 400, "missing request body"),
    "no body in chat": ("/api/chat", b"", 400, "missing request body"),
    "no body in show": ("/api/show", b"", 400, "missing request body"),
    "no body in embed": ("/api/embed", b"", 400, "missing request body"),
    "cut JSON": ("/api/generate", b'{"model": "x"', 400, "unexpected"),
    "array": ("/api/generate", b"[]", 400, None),
    "null bytes": ("/api/generate", b"\x00\x00\x00", 400, None),
    "not UTF-8": ("/api/generate", b"\xff\xfe{", 400, None),
    "model of a wrong type": ("/api/generate", {"model": 5}, 400, None),
    "prompt of a wrong type": ("/api/generate", {"model": "MODEL", "prompt": 5}, 400, None),
    "messages of a wrong type": ("/api/chat", {"model": "MODEL", "messages": "hi"}, 400, None),
    "content as a list": ("/api/chat", {"model": "MODEL", "messages": [{"role": "user", "content": []}]}, 400, None),
    "options of a wrong type": ("/api/chat", {"model": "MODEL", "messages": HELLO, "options": 5}, 400, None),
    "stream of a wrong type": ("/api/chat", {"model": "MODEL", "messages": HELLO, "stream": "yes"}, 400, None),
    "no model in chat": ("/api/chat", {"messages": HELLO}, 400, "model is required"),
    "no model in generate": ("/api/generate", {"prompt": "Hi"}, 404, "model '' not found"),
    "unknown model": ("/api/generate", {"model": "nope", "prompt": "Hi"}, 404, "model 'nope' not found"),
    "unknown model in chat": ("/api/chat", {"model": "nope", "messages": HELLO}, 404, "model 'nope' not found"),
    "unknown model in embed": ("/api/embed", {"model": "nope", "input": "Hi"}, 404, None),
    "unknown model in show": ("/api/show", {"model": "nope"}, 404, "model 'nope' not found"),
    "number to embed": ("/api/embed", {"model": "MODEL", "input": 5}, 400, "invalid input type"),
    "format": ("/api/generate", {"model": "MODEL", "prompt": "Hi", "format": "xml"}, 400, INVALID_FORMAT),
    "format in chat": ("/api/chat", {"model": "MODEL", "messages": HELLO, "format": "xml"}, 400, INVALID_FORMAT),
    "keep_alive": (
        "/api/generate",
        {"model": "MODEL", "prompt": "Hi", "keep_alive": "bogus"},
        400,
        'time: invalid duration "bogus"',
    ),
    "option of a wrong type": (
        "/api/generate",
        {"model": "MODEL", "prompt": "Hi", "options": {"temperature": "hot"}},
        400,
        'option "temperature" must be of type float32',
    ),
    "whole-number option of a wrong type": (
        "/api/generate",
        {"model": "MODEL", "prompt": "Hi", "options": {"top_k": "many"}},
        400,
        'option "top_k" must be of type integer',
    ),
    "stop of a wrong type": ("/api/generate", {"model": "MODEL", "prompt": "Hi", "options": {"stop": 5}}, 400, None),
    "top_logprobs": ("/api/generate", {"model": "MODEL", "prompt": "Hi", "logprobs": True, "top_logprobs": 21}, 400, None),
    "negative top_logprobs": ("/api/chat", {"model": "MODEL", "messages": HELLO, "logprobs": True, "top_logprobs": -1}, 400, None),
    "bad image": ("/api/generate", {"model": "MODEL", "prompt": "Hi", "images": ["not base64 !"]}, 400, None),
    "raw with system": ("/api/generate", {"model": "MODEL", "prompt": "Hi", "raw": True, "system": "x"}, 400, None),
    "context beyond the vocabulary": ("/api/generate", {"model": "MODEL", "prompt": "Hi", "context": [10**9]}, 400, None),
    "context below zero": ("/api/generate", {"model": "MODEL", "prompt": "Hi", "context": [-1]}, 400, None),
    "pull of nothing": ("/api/pull", {"model": ""}, 400, None),
    "create from nothing": ("/api/create", {"model": "x"}, 400, "neither 'from' or 'files' was specified"),
    "copy of the unknown": ("/api/copy", {"source": "nope", "destination": "x"}, 404, None),
}


@pytest.mark.parametrize("name", ERRORS)
def test_error(name):
    path, body, status, text = ERRORS[name]
    if isinstance(body, dict) and body.get("model") == "MODEL":
        body = {**body, "model": support.model()}
    answer = wire.post(path, body)
    assert answer.status == status, answer.text
    assert answer.kind.startswith("application/json")
    assert isinstance(answer.json["error"], str) and answer.json["error"], "the error is a string, not an object"
    if text is not None:
        assert text in answer.json["error"]


@pytest.mark.parametrize("name", ["delete", "delete by name"])
def test_delete_of_the_unknown_is_404(name):
    body = {"model": "nope"} if name == "delete" else {"name": "nope"}
    answer = wire.call("DELETE", "/api/delete", body)
    assert answer.status == 404 and isinstance(answer.json["error"], str)


@pytest.mark.parametrize("feature", ["suffix", "think", "tools", "images"])
def test_features_that_the_model_lacks_are_named_with_the_model(feature):
    lacks = {"suffix": "insert", "think": "thinking", "tools": "tools", "images": "vision"}[feature]
    if lacks in support.capabilities():
        pytest.skip(f"the model has {lacks}")
    path, extra = {
        "suffix": ("/api/generate", {"suffix": "x"}),
        "think": ("/api/generate", {"think": True}),
        "tools": ("/api/chat", {"tools": [support.WEATHER_TOOL]}),
        "images": ("/api/generate", {"images": [support.PIXEL_PNG]}),
    }[feature]
    answer = wire.post(path, BODIES[path](**extra))
    assert answer.status == 400
    if feature != "images":
        assert f"does not support {lacks}" in answer.json["error"]
        assert support.model().removesuffix(":latest") in answer.json["error"]


def test_errors_before_a_stream_have_a_status_and_are_one_object():
    answer = wire.post("/api/chat", {"model": "nope", "messages": HELLO, "stream": True})
    assert answer.status == 404 and set(answer.json) == {"error"}


@pytest.mark.parametrize("path", ["/nothing", "/api/nothing"])
def test_unknown_paths_are_404(path):
    assert wire.call("GET", path).status == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api/generate"), ("GET", "/api/chat"), ("POST", "/api/tags"), ("DELETE", "/api/generate"), ("GET", "/api/show"),
     ("PUT", "/api/chat"), ("POST", "/api/version")],
)  # fmt: skip
def test_wrong_methods_are_405(method, path):
    assert wire.call(method, path, b"{}" if method != "GET" else None).status == 405
