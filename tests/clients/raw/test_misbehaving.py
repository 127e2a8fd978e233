"""Clients that break rules: the server refuses or drops them, and answers the next one as if nothing had been."""

import contextlib
import json
import socket
import threading
import time

import pytest
import support
import wire


def generate(**more):
    options = {"temperature": 0, "num_predict": 6}
    return {"model": support.model(), "prompt": "Say hello.", "options": options, **more}


def assert_alive():
    answer = wire.post("/api/generate", generate(stream=False))
    assert answer.status == 200 and answer.json["response"]


@pytest.fixture(autouse=True)
def still_answers_afterwards():
    yield
    assert_alive()
    support.wait_until_idle()


def status_of(data):
    """The status of the first answer in some bytes, or None where the server closed without one."""
    return int(data.split(b" ", 2)[1]) if data.startswith(b"HTTP/") else None


GARBAGE = {
    "nothing": b"",
    "line ends": b"\r\n\r\n\r\n",
    "binary": bytes(range(256)) * 4,
    "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "bad version": b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "space in a header's name": b"GET / HTTP/1.1\r\nHo st: localhost\r\n\r\n",
    "header without a colon": b"GET / HTTP/1.1\r\nnonsense\r\n\r\n",
    "negative length": b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
    "length that is no number": b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: many\r\n\r\n",
    "length beyond 64 bits": b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    "two lengths": b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
    "bad chunk": b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "chunk beyond 64 bits": b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
}  # fmt: skip


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_400_or_dropped(name):
    with wire.connect(20) as connection:
        received = b""
        with contextlib.suppress(ConnectionError):
            connection.sendall(GARBAGE[name])
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                received += piece
    assert status_of(received) in (None, 400, 404, 405, 408, 411, 413, 417, 421, 426, 431, 501, 505), received[:200]


def test_length_and_chunked_together_is_not_smuggled():
    """A second request hidden in the body must not be answered as one."""
    hidden = b"0\r\n\r\nGET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head = f"POST /api/show HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(hidden)}\r\nTransfer-Encoding: chunked\r\n\r\n"
    received = wire.send_raw(head.encode() + hidden, timeout=3)
    assert b'"version"' not in received


def test_a_flood_of_headers_is_refused():
    fields = {f"X-Header-{n}": "x" * 100 for n in range(5000)}
    received = wire.send_raw(wire.head_bytes("GET", "/api/tags", fields))
    assert status_of(received) in (None, 400, 413, 431)


def test_one_endless_header_is_refused():
    received = wire.send_raw(wire.head_bytes("GET", "/api/tags", {"X-Long": "x" * 4_000_000}))
    assert status_of(received) in (None, 400, 413, 431)


def test_an_endless_path_is_refused():
    received = wire.send_raw(wire.head_bytes("GET", "/" + "a" * 2_000_000, {}))
    assert status_of(received) in (None, 400, 404, 413, 414, 431)


def test_headers_of_ordinary_size_are_not():
    """Cookies of other local programs arrive here too, for a browser does not tell ports apart."""
    assert wire.call("GET", "/api/tags", headers={"Cookie": "x" * 8000}).status == 200


@pytest.mark.parametrize("path", ["/api/generate", "/v1/chat/completions", "/v1/messages", "/tokenize"])
def test_a_huge_body_is_413_before_it_is_read(path):
    """1 TiB is announced; nobody waits for it."""
    head = wire.head_bytes("POST", path, {"Content-Length": 1 << 40, "Content-Type": "application/json"})
    received = wire.send_raw(head + b'{"model": "' + b"x" * 100_000, timeout=10)
    assert status_of(received) in (400, 413)


def test_an_endless_chunked_body_is_stopped():
    head = wire.head_bytes("POST", "/api/generate", {"Transfer-Encoding": "chunked"})
    piece = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    sent = 0
    with wire.connect(10) as connection:
        with contextlib.suppress(ConnectionError, TimeoutError):
            connection.sendall(head)
            for _ in range(1024):
                connection.sendall(piece)
                sent += len(piece)
    assert sent < 1 << 30, "a whole gigabyte was taken"


def test_a_body_of_some_megabytes_is_read():
    """Images come in base64; a text model refuses them for what they are, not for their size."""
    body = generate(images=["A" * 8_000_000], stream=False)
    assert wire.post("/api/generate", body).status == 400


DEEP = 100_000
HOSTILE_JSON = {
    "deep arrays": b'{"model": "x", "messages": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep in an ignored field": b'{"model": "MODEL", "prompt": "Hi", "stream": false, "options": {"num_predict": 2}, "x": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep schema": b'{"model": "MODEL", "prompt": "Hi", "stream": false, "options": {"num_predict": 2}, "format": ' + b'{"items":' * 5000 + b"{}" + b"}" * 5000 + b"}",
    "big number": b'{"model": "MODEL", "prompt": "Hi", "stream": false, "options": {"num_predict": 2, "seed": 1e999}}',
    "lone surrogate": b'{"model": "MODEL", "prompt": "\\ud800", "stream": false, "options": {"num_predict": 2}}',
    "zero byte": b'{"model": "MODEL", "prompt": "a\\u0000b", "stream": false, "options": {"num_predict": 2}}',
    "the same key twice": b'{"model": "MODEL", "model": "MODEL", "prompt": "Hi", "stream": false, "options": {"num_predict": 2}}',
    "byte-order mark": b'\xef\xbb\xbf{"model": "MODEL"}',
    "two objects": b'{"model": "MODEL", "prompt": ""}{"model": "x"}',
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_JSON)
@pytest.mark.parametrize("path", ["/api/generate", "/api/chat", "/v1/completions", "/v1/messages"])
def test_hostile_json_is_4xx_or_answered(name, path):
    body = HOSTILE_JSON[name].replace(b"MODEL", support.model().encode())
    assert wire.post(path, body).status < 500


HOSTILE_SCHEMAS = {
    "refers to itself": {"$ref": "#"},
    "refers to nothing": {"$ref": "#/nowhere"},
    "refers to the web": {"$ref": "http://evil.example/schema.json"},
    "endless pattern": {"type": "string", "pattern": "(a*)*b"},
    "huge repetition": {"type": "string", "minLength": 10**12},
    "many repetitions": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}, "minItems": 10**6}, "minItems": 10**6},
    "impossible": {"type": "integer", "minimum": 5, "maximum": 1},
    "contradictory": {"allOf": [{"type": "string"}, {"type": "integer"}]},
    "many ways": {"anyOf": [{"type": "object", "properties": {f"k{i}": {"type": "integer"}}} for i in range(2000)]},
    "never": {"not": {}},
    "false": {"type": "object", "properties": {"a": False}, "required": ["a"]},
    "broken pattern": {"type": "string", "pattern": "(["},
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_SCHEMAS)
def test_hostile_schemas_are_4xx_or_answered(name):
    body = generate(format=HOSTILE_SCHEMAS[name], stream=False)
    answer = wire.post("/api/generate", body)
    assert answer.status in (200, 400), answer.text


EDGE_OPTIONS = [
    {"temperature": 1e30},
    {"temperature": -1e30},
    {"top_k": -5},
    {"top_k": 2**31 - 1},
    {"top_p": -1},
    {"top_p": 5},
    {"min_p": 2},
    {"typical_p": 0},
    {"repeat_last_n": -1},
    {"repeat_last_n": 2**31 - 1},
    {"repeat_penalty": 0},
    {"repeat_penalty": -1},
    {"seed": -(2**63)},
    {"num_predict": -3},
    {"num_ctx": 0},
    {"num_ctx": -1},
    {"num_ctx": 2**31 - 1},
    {"num_keep": 10**9},
    {"stop": [""]},
    {"stop": ["x"] * 10_000},
    {"stop": ["x" * 1_000_000]},
]


@pytest.mark.parametrize("options", EDGE_OPTIONS, ids=lambda options: str(options)[:40])
def test_edges_of_options_are_4xx_or_answered(options):
    body = {**generate(stream=False), "options": {"num_predict": 3, "temperature": 0.5, **options, "stop": options.get("stop", ["\n"])}}
    assert wire.post("/api/generate", body).status in (200, 400)


# -- clients that come and go -------------------------------------------------------------------------------------------


def test_half_a_request_that_stays_open_blocks_nobody():
    with contextlib.ExitStack() as stack:
        for n in range(50):
            connection = stack.enter_context(wire.connect())
            connection.sendall(wire.request_bytes("POST", "/api/generate", generate())[: 10 + 3 * n])
        assert_alive()


def test_connections_without_a_request_block_nobody():
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(wire.connect())
        assert_alive()


def test_a_reader_that_reads_nothing_blocks_nobody():
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            connection = stack.enter_context(wire.connect())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            body = {**generate(), "options": {"num_predict": 400, "temperature": 1}, "logprobs": True, "top_logprobs": 20}
            connection.sendall(wire.request_bytes("POST", "/api/generate", body))
        time.sleep(0.5)
        started = time.monotonic()
        assert_alive()
        assert time.monotonic() - started < 60


def test_a_slow_reader_gets_every_token():
    body = {**generate(), "options": {"num_predict": 24, "temperature": 0}}
    whole = wire.post("/api/generate", {**body, "stream": False}).json["response"]
    with wire.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        connection.sendall(wire.request_bytes("POST", "/api/generate", body, {"Connection": "close"}))
        received = b""
        while piece := connection.recv(256):
            received += piece
            time.sleep(0.01)
    lines = [json.loads(line) for line in received.split(b"\n") if line.strip().startswith(b"{")]
    assert "".join(line["response"] for line in lines) == whole and lines[-1]["done"]


def test_a_slow_writer_is_answered():
    data = wire.request_bytes("POST", "/api/generate", generate(stream=False))
    with wire.connect() as connection, connection.makefile("rb") as stream:
        for i in range(0, len(data), 16):
            connection.sendall(data[i : i + 16])
            time.sleep(0.02)
        assert wire.read_answer(stream).status == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_frees_its_slot(stream, how):
    """Unfinished answers of 2000 tokens would take a minute each; the slots must be free long before."""
    body = {**generate(stream=stream), "options": {"num_predict": 2000, "temperature": 1.5}}
    for _ in range(4):
        with wire.connect() as connection:
            connection.sendall(wire.request_bytes("POST", "/api/generate", body))
            if stream:
                connection.recv(64)
            else:
                time.sleep(0.3)
            if how == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    started = time.monotonic()
    support.wait_until_idle(15)
    assert time.monotonic() - started < 15


def test_a_client_that_leaves_while_it_waits_leaves_the_queue():
    long = {**generate(), "options": {"num_predict": 300, "temperature": 1.5}}
    connections = [wire.connect() for _ in range(24)]
    for connection in connections:
        connection.sendall(wire.request_bytes("POST", "/api/generate", long))
    time.sleep(0.5)
    for connection in connections:
        connection.close()
    support.wait_until_idle(20)


def test_a_half_closed_client_is_answered_or_dropped_at_once():
    """Its end of the stream looks like that of a client that has left, which must free the slot; `nc -N` sends one."""
    long = {**generate(stream=False), "options": {"num_predict": 2000, "temperature": 1.5}}
    for body in (generate(stream=False), long):
        with wire.connect(30) as connection:
            connection.sendall(wire.request_bytes("POST", "/api/generate", body))
            connection.shutdown(socket.SHUT_WR)
            if body is not long:
                received = connection.recv(65536)
                assert status_of(received) in (None, 200)
    support.wait_until_idle(15)


def test_pipelined_requests_are_answered_in_order():
    with wire.connect() as connection, connection.makefile("rb") as stream:
        connection.sendall(
            wire.request_bytes("GET", "/api/version")
            + wire.request_bytes("POST", "/api/generate", generate(stream=False))
            + wire.request_bytes("GET", "/health")
        )
        answers = [wire.read_answer(stream) for _ in range(3)]
    assert "version" in answers[0].json and answers[1].json["done"] and answers[2].json["status"] == "ok"


def test_more_requests_than_slots_are_all_answered():
    statuses = []

    def ask():
        statuses.append(wire.post("/api/generate", generate(stream=False)).status)

    threads = [threading.Thread(target=ask) for _ in range(48)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(statuses) == 48 and set(statuses) <= {200, 503}
    assert 200 in statuses
