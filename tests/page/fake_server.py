"""A stand-in for the server of ssd-llm, for the tests of its page: serves the page as the real one does and makes up answers.

The first word of the last message decides what comes (see ANSWERS and `Handler.chat`), so tests need no hidden state.
Only the standard library; one server is one object that can be stopped and started again on its port.

    python3 tests/page/fake_server.py 8000        to look at the page by hand
"""

import json
import pathlib
import re
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ASSETS = pathlib.Path(__file__).resolve().parents[2] / "crates/server/assets/page"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
MIB = 1 << 20
N_LAYERS = 30

MARKDOWN = '''# Heading one
Some *emphasis*, **strong words**, ~~gone~~, `code`, and a [link](https://example.org/a_(b)?q=1 "title").
A second line, and https://example.org/bare_link. Snake_case_stays, 2 * 3 * 4 too.

## Lists
1. first
2. second
   - nested **bold**
     - deeper
   - more

   a paragraph in the item
3. third

* done
* not done

> A quote
> of two lines
>
> - with a list

| Layer | Bytes | Where |
|:------|------:|:-----:|
| 0 | 3,145,728 | `pinned` |
| 1 | 12 \\| 13 | **SSD** |

---

```rust
fn main() {
    let layers: Vec<&str> = vec!["<b>pinned</b>", "streamed"];
    println!("{layers:?}"); // A long comment that runs over the side of a telephone, to see the code scroll sideways.
}
```

Last words, ![a picture](https://example.org/picture.png).'''

XSS = '''<script>window.hit = 1</script>
<img src=x onerror="window.hit = 1">
[a](javascript:window.hit=1) [b](JaVaScRiPt:window.hit=1) [c](java&#10;script:window.hit=1) [d](data:text/html,<script>window.hit=1</script>)
[e]( javascript:window.hit=1 "x") <javascript:window.hit=1> [f](vbscript:x) ![g](javascript:window.hit=1) [h](//evil.example/x)
![remote](https://evil.example/track.png) <svg onload="window.hit=1"> <iframe srcdoc="<script>parent.hit=1</script>"></iframe>
[i](https://evil.example/"onmouseover="window.hit=1) [**j**](file:///etc/passwd) [k](blob:https://x/y)

| <img src=x onerror=window.hit=1> | b |
|---|---|
| <style>body{display:none}</style> | <a href="javascript:window.hit=1">x</a> |

```html"><img src=x onerror=window.hit=1>
<script>window.hit = 1</script>
```
- <details open ontoggle=window.hit=1>
# <math><mtext></mtext></math><base href="https://evil.example/">'''


def long_answer(n_tokens):
    """About `n_tokens` words in every kind of block: what a page must follow without freezing."""
    words = "streaming weights from the disk layer by layer while the arithmetic waits for *nothing* at `all`".split()
    text, n = [], 0
    while n < n_tokens:
        part = n // 400 % 4
        if part == 0:
            block = [" ".join(words * 3)]
        elif part == 1:
            block = [f"- item {i} " + " ".join(words) for i in range(6)]
        elif part == 2:
            block = ["```python", *[f"value_{i} = compute({i})  # " + " ".join(words[:6]) for i in range(9)], "```"]
        else:
            block = ["## A heading", " ".join(words * 2)]
        text.append("\n".join(block))
        n += sum(len(line.split()) for line in block)
    return "\n\n".join(text)


ANSWERS = {
    "markdown": MARKDOWN,
    "xss": XSS,
    "long": long_answer(10_000),
    "list": "\n".join(f"- item {i} with **bold** and `code` and some more words" for i in range(1000)),
    "line": "one line of words " * 2500,
}
SHORT = "The weights are **streamed** from the SSD, layer by layer."


class FakeServer:
    """The server, with counters that tests read."""

    def __init__(self, port=0, key=None):
        self.key = key
        self.port = port
        self.chats = []
        self.cancelled = 0
        self.writing = 0
        self.n_written = 0
        self.n_models = 2
        self.started = time.time()
        self.http = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/"

    def start(self):
        handler = type("BoundHandler", (Handler,), {"fake": self})
        ThreadingHTTPServer.allow_reuse_address = True
        ThreadingHTTPServer.daemon_threads = True
        self.http = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self.http.connections = set()
        self.port = self.http.server_address[1]
        self.started = time.time()
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self):
        """Ends like a process does: nobody listens any more, and every connection is cut."""
        self.http.shutdown()
        self.http.server_close()
        for connection in list(self.http.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake = None

    def setup(self):
        self.server.connections.add(self.request)
        super().setup()

    def finish(self):
        self.server.connections.discard(self.request)
        try:
            super().finish()
        except OSError:
            pass

    def log_message(self, *_):
        pass

    def do_GET(self):
        path = self.path.split("?")[0]
        if path == "/" or path.startswith("/page/"):
            return self.asset("index.html" if path == "/" else path.removeprefix("/page/"))
        if self.refused():
            return None
        if path == "/api/tags":
            return self.json(200, {"models": [model(place) for place in range(self.fake.n_models)]})
        if path == "/stats":
            return self.json(200, stats(self.fake))
        return self.json(404, {"error": "not found"})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
        if self.refused():
            return None
        if self.path != "/api/chat":
            return self.json(404, {"error": "not found"})
        self.fake.chats.append(body)
        try:
            self.chat(body)
        except (BrokenPipeError, ConnectionResetError):
            self.fake.cancelled += 1
        finally:
            self.close_connection = True

    def refused(self):
        if self.fake.key is None or self.headers.get("Authorization") == f"Bearer {self.fake.key}":
            return False
        self.json(401, {"error": "a key is needed"})
        return True

    def asset(self, name):
        path = ASSETS / name
        if "/" in name or not path.is_file():
            return self.json(404, {"error": "not found"})
        return self.reply(200, TYPES[path.suffix], path.read_bytes(), {"Content-Security-Policy": POLICY})

    def json(self, status, value):
        self.reply(status, "application/json", json.dumps(value).encode())

    def reply(self, status, content_type, body, headers=()):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def chat(self, body):
        text = body["messages"][-1]["content"]
        word = (text.split() or ["hello"])[0].lower()
        if word == "refuse":
            return self.json(400, {"error": "the prompt has 9,000 tokens, but the context has 2,048"})
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()
        self.fake.writing += 1
        try:
            if self.stream(word, body) != "cut":
                self.wfile.write(b"0\r\n\r\n")
        finally:
            self.fake.writing -= 1

    def stream(self, word, body):
        time.sleep(3 if word == "wait" else 0.05)
        if word == "think":
            for piece in pieces("First I look at the question.\nThen I answer."):
                self.line({"message": {"role": "assistant", "content": "", "thinking": piece}, "done": False})
                time.sleep(0.01)
        if word == "echo":
            answer = "```json\n" + json.dumps(body, indent=1) + "\n```"
        else:
            answer = ANSWERS.get(word, SHORT)
        # A long story is what `--url` asks of a real model, so that can be tried with this server too.
        if word in ("endless", "broken", "drop", "quiet") or "long story" in body["messages"][-1]["content"]:
            answer = "word after word " * 10_000
        # Many pieces a write for the long ones: 2,000 tokens a second is faster than any model here.
        pause, group = {"long": (0.002, 4), "list": (0.002, 4), "line": (0.002, 4)}.get(word, (0.012, 1))
        for n, piece in enumerate(pieces(answer)):
            if word == "broken" and n == 20:
                return self.line({"error": "cannot read 3.0 MiB at offset 41943040 of model.gguf: Input/output error"})
            if word == "drop" and n == 20:
                self.connection.shutdown(socket.SHUT_RDWR)
                return "cut"
            if word == "quiet" and n == 20:
                return None
            self.line({"message": {"role": "assistant", "content": piece}, "done": False})
            self.fake.n_written += 1
            if n % group == 0:
                time.sleep(pause)
        n_tokens = len(pieces(answer))
        self.line({
            "message": {"role": "assistant", "content": ""}, "done": True,
            "done_reason": "length" if word == "length" else "stop",
            "prompt_eval_count": 34, "prompt_eval_duration": 100_000_000,
            "eval_count": n_tokens, "eval_duration": int(n_tokens / 33.1 * 1e9), "total_duration": 2_500_000_000,
        })
        return None

    def line(self, value):
        data = json.dumps(value).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


def pieces(text):
    """Cuts a text as a tokenizer would, roughly: at each space, and in the middle of long words."""
    return re.findall(r" ?[^ ]{1,5}| +", text)


def model(place):
    name = ["SmolLM2-135M-Instruct.Q4_1", "another-model-with-a-long-name-70B.Q4_K_M"][place]
    details = {"parameter_size": "134.5M", "quantization_level": "Q4_1", "context_length": 8192, "family": "llama"}
    return {"name": name, "model": name, "size": 98_000_000, "details": details}


def stats(fake):
    busy = fake.writing > 0
    wobble = 1 + 0.12 * ((time.time() * 7) % 1 - 0.5)
    layers = [{"pinned_bytes": int(2.55 * MIB) if place % 9 in (0, 2, 4, 7) else 0, "streamed_bytes": 0} for place in range(N_LAYERS)]
    for layer in layers:
        layer["streamed_bytes"] = int(2.55 * MIB) - layer["pinned_bytes"]
    layers.append({"pinned_bytes": 7 * MIB, "streamed_bytes": 9 * MIB})
    pinned = sum(layer["pinned_bytes"] for layer in layers)
    streamed = sum(layer["streamed_bytes"] for layer in layers)
    rate = 31.4 * wobble if busy else 0
    return {
        "model": {
            "name": "SmolLM2-135M-Instruct.Q4_1", "architecture": "llama", "parameters": 134_515_008, "quantization": "Q4_1",
            "file_bytes": 98 * MIB, "n_layers": N_LAYERS, "context": 8192,
        },
        "state": "ready", "uptime_s": time.time() - fake.started,
        "plan": {
            "budget_bytes": 72 * MIB, "weights_bytes": pinned + streamed, "pinned_bytes": pinned,
            "streamed_bytes_per_pass": streamed, "kv_bytes": 11 * MIB, "predicted_tokens_per_second": 33.9,
        },
        "layers": layers,
        "now": {
            "tokens_per_second": rate, "bytes_per_second": rate * streamed, "stall_share": 0.58 * wobble if busy else 0,
            "passes_per_second": rate, "queued": 1 if fake.writing > 2 else 0, "prefilling": 0, "decoding": fake.writing,
        },
        "totals": {
            "requests": len(fake.chats), "prompt_tokens": 34 * len(fake.chats), "generated_tokens": fake.n_written,
            "bytes_read": fake.n_written * streamed, "stall_ms": fake.n_written * 18, "compute_ms": fake.n_written * 12,
        },
        "kv": {"n_pages": 256, "n_free_pages": 190 - 3 * fake.writing, "n_cached_pages": 40, "page_bytes": 45056},
        "prompt_cache": {"hits": max(0, len(fake.chats) - 1), "misses": min(1, len(fake.chats)), "saved_tokens": 29 * max(0, len(fake.chats) - 1)},
    }


if __name__ == "__main__":
    server = FakeServer(int(sys.argv[1]) if len(sys.argv) > 1 else 8000).start()
    print(f"http://127.0.0.1:{server.port}/")
    threading.Event().wait()
