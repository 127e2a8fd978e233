"""HTTP/1.1 by hand: what a server sends, byte for byte, and requests that no well-behaved library would make."""

import dataclasses
import json
import socket
import urllib.parse

import support


@dataclasses.dataclass
class Answer:
    """A response as it came over the socket; `chunks` are the pieces of a chunked body, in order."""

    status: int
    headers: dict
    body: bytes
    chunks: list

    @property
    def text(self):
        return self.body.decode("utf-8")

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def kind(self):
        return self.headers.get("content-type", "")

    @property
    def lines(self):
        """The objects of an NDJSON body, each of which must be a whole line."""
        assert self.body.endswith(b"\n"), "the last line has no line end"
        return [json.loads(line) for line in self.body[:-1].split(b"\n")]

    @property
    def events(self):
        """The events of an SSE body as (name or None, data as text)."""
        assert self.body.endswith(b"\n\n"), "the last event is not ended by an empty line"
        events = []
        for block in self.text[:-2].split("\n\n"):
            fields = [line.split(": ", 1) for line in block.split("\n") if not line.startswith(":")]
            if fields:
                names = [field[1] for field in fields if field[0] == "event"]
                data = "\n".join(field[1] for field in fields if field[0] == "data")
                events.append((names[0] if names else None, data))
        return events


def address():
    parts = urllib.parse.urlsplit(support.URL)
    return parts.hostname, parts.port or 80


def connect(timeout=60):
    connection = socket.create_connection(address(), timeout=timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def head_bytes(method, path, headers):
    host, port = address()
    fields = {"Host": f"{host}:{port}", **headers}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items() if value is not None)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def request_bytes(method, path, body=None, headers=None):
    """A whole request. A body that is not bytes is sent as JSON, under the content type that `curl -d` would give."""
    fields = dict(headers or {})
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    if body is not None:
        fields.setdefault("Content-Length", len(body))
        fields.setdefault("Content-Type", "application/json")
    return head_bytes(method, path, fields) + (body or b"")


def read_answer(stream, method="GET"):
    """Reads one response from a buffered binary stream, leaving what follows it."""
    status_line = stream.readline()
    assert status_line.startswith(b"HTTP/1.1 "), status_line
    status = int(status_line.split()[1])
    headers = {}
    while (line := stream.readline()) not in (b"\r\n", b"\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    chunks = []
    if method == "HEAD" or status in (204, 304):
        body = b""
    elif headers.get("transfer-encoding") == "chunked":
        while size := int(stream.readline().split(b";")[0], 16):
            chunks.append(stream.read(size))
            assert stream.readline() == b"\r\n"
        while stream.readline() not in (b"\r\n", b""):
            pass
        body = b"".join(chunks)
    elif "content-length" in headers:
        body = stream.read(int(headers["content-length"]))
    else:
        body = stream.read()
    return Answer(status, headers, body, chunks)


def call(method, path, body=None, headers=None, timeout=120):
    with connect(timeout) as connection, connection.makefile("rb") as stream:
        connection.sendall(request_bytes(method, path, body, headers))
        return read_answer(stream, method)


def post(path, body, headers=None):
    return call("POST", path, body, headers)


def send_raw(data, timeout=20):
    """Sends bytes as they are and returns all that comes back until the server closes or the time is over."""
    received = b""
    with connect(timeout) as connection:
        try:
            connection.sendall(data)
            while piece := connection.recv(65536):
                received += piece
        except (TimeoutError, ConnectionResetError, BrokenPipeError):
            pass
    return received
