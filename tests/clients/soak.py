#!/usr/bin/env python3
"""Many requests over many connections, a fifth cancelled midway, a fifth malformed.

    soak.py [--requests 300] [--connections 64] [--paths /] [--pid PID] [--seed 1] [--url URL] [--model NAME]

Passes when every well-formed request is answered in full or refused with 503, every malformed one is refused with 4xx and
none with 5xx, nothing runs or waits at the end, and the server's resident memory after the last request is within 2% of
what it was after the warm-up (--pid; Linux). The long form is `--requests 10000 --warm-up 10000`: pages of keys and values
come into memory when they are first used, and it takes some thousands of requests until each has been. Uses nothing but
Python's library.
"""

import argparse
import asyncio
import collections
import json
import os
import random
import re
import statistics
import sys
import time
import urllib.parse
import urllib.request

FLAT_PERCENT = 2
REQUEST_TIMEOUT_S = 300


class Server:
    """Where the server is and what it said about itself."""

    def __init__(self, url, model, pid):
        parts = urllib.parse.urlsplit(url)
        self.url, self.host, self.port, self.pid = url.rstrip("/"), parts.hostname, parts.port or 80, pid
        self.model = model or self.get("/api/tags")["models"][0]["name"]

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            text = answer.read().decode()
        return json.loads(text) if text.startswith(("{", "[")) else text

    def rss_bytes(self):
        if self.pid is None:
            return None
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS"))

    def n_open_files(self):
        return None if self.pid is None else len(os.listdir(f"/proc/{self.pid}/fd"))

    def busy(self):
        """How many requests run and wait."""
        values = {}
        for line in self.get("/metrics").splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                values[name.partition("{")[0]] = float(value)
        running = values["ssd_llm_requests_prefilling"] + values["ssd_llm_requests_decoding"]
        return running, values["ssd_llm_requests_queued"]


# -- requests -----------------------------------------------------------------------------------------------------------


def well_formed(rng, model, prefix):
    """A request that must be answered, to a path that begins with `prefix`: path, body, and how its answer ends."""
    text = rng.choice(["Say hello.", "Count to five.", "漢字 🦀 été", "A long one: " + "word " * rng.randrange(200)])
    n_tokens, temperature, stream = rng.randrange(1, 12), rng.choice([0, 0.8]), rng.random() < 0.5
    messages = [{"role": "user", "content": text}]
    options = {"num_predict": n_tokens, "temperature": temperature}
    common = {"model": model, "temperature": temperature, "stream": stream}
    kinds = {
        "/api/generate": ({"model": model, "prompt": text, "options": options, "stream": stream}, "ndjson"),
        "/api/chat": ({"model": model, "messages": messages, "options": options, "stream": stream}, "ndjson"),
        "/v1/chat/completions": ({**common, "messages": messages, "max_tokens": n_tokens}, "done"),
        "/v1/completions": ({**common, "prompt": text, "max_tokens": n_tokens}, "done"),
        "/v1/responses": ({**common, "input": text, "max_output_tokens": 16}, "response.(completed|incomplete)"),
        "/v1/messages": ({**common, "messages": messages, "max_tokens": n_tokens}, "message_stop"),
        "/api/embed": ({"model": model, "input": [text, "two"]}, None),
        "/v1/embeddings": ({"model": model, "input": text}, None),
        "/tokenize": ({"content": text}, None),
        "/api/show": ({"model": model}, None),
    }
    weights = dict(zip(kinds, [4, 4, 4, 2, 2, 4, 1, 1, 1, 1]))
    paths = [path for path in kinds if path.startswith(prefix)]
    path = rng.choices(paths, weights=[weights[path] for path in paths])[0]
    body, ending = kinds[path]
    return path, json.dumps(body).encode(), ending if stream else None


def malformed(rng, model, prefix):
    """A request that must be refused, to a path that begins with `prefix`: path and body."""
    message = {"role": "user", "content": "Hi"}
    bodies = [
        b"{bad",
        b"",
        b"[]",
        bytes(rng.randrange(256) for _ in range(64)),
        b"[" * 20_000,
        json.dumps({"model": "no-such-model", "prompt": "Hi", "messages": [message], "input": "Hi", "max_tokens": 4}).encode(),
        json.dumps({"model": 5}).encode(),
        json.dumps({"model": model, "messages": "Hi", "prompt": 5, "input": 5, "max_tokens": 4}).encode(),
    ]
    paths = ["/api/generate", "/api/chat", "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"]
    return rng.choice([path for path in paths if path.startswith(prefix)]), rng.choice(bodies)


def is_complete(body, ending):
    """Whether an answer with status 200 came to its end."""
    if ending is None:
        return isinstance(json.loads(body), dict)
    if ending == "ndjson":
        return body.endswith(b"\n") and json.loads(body.splitlines()[-1]).get("done") is True
    if ending == "done":
        return body.endswith(b"data: [DONE]\n\n")
    last = body.rstrip().split(b"\n\n")[-1]
    return re.match(rb"event: " + ending.encode() + rb"\n", last) is not None


# -- the wire -----------------------------------------------------------------------------------------------------------


class Connection:
    """One connection at a time of one worker, opened again where the server or the test closed it."""

    def __init__(self, server):
        self.server, self.reader, self.writer = server, None, None

    async def send(self, path, body):
        if self.writer is None or self.writer.is_closing():
            self.reader, self.writer = await asyncio.open_connection(self.server.host, self.server.port)
        head = f"POST {path} HTTP/1.1\r\nHost: {self.server.host}:{self.server.port}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)
        await self.writer.drain()

    async def head(self):
        line = await self.reader.readline()
        if not line.startswith(b"HTTP/1.1 "):
            raise ConnectionError(f"no status line but {line[:40]!r}")
        fields = {}
        while (field := await self.reader.readline()).strip():
            name, _, value = field.decode("latin-1").partition(":")
            fields[name.lower()] = value.strip()
        return int(line.split()[1]), fields

    async def body(self, fields):
        if fields.get("transfer-encoding") == "chunked":
            pieces = []
            while size := int(await self.reader.readline(), 16):
                pieces.append(await self.reader.readexactly(size))
                await self.reader.readline()
            await self.reader.readline()
            body = b"".join(pieces)
        else:
            body = await self.reader.readexactly(int(fields.get("content-length", 0)))
        if fields.get("connection", "").lower() == "close":
            self.close()
        return body

    def close(self):
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


class Soak:
    """Counts what happened and keeps the first failures in full."""

    def __init__(self, server, prefix, seed):
        self.server, self.prefix, self.rng = server, prefix, random.Random(seed)
        self.counts, self.failures, self.latencies_s = collections.Counter(), [], []

    def fail(self, what, path, body, answer):
        self.counts[f"FAILED: {what}"] += 1
        if len(self.failures) < 20:
            self.failures.append(f"{what}: POST {path} {body[:300]!r} -> {answer[:300]!r}")

    async def one(self, number, connection):
        kind = ("cancelled", "malformed")[number % 5] if number % 5 < 2 else "well-formed"
        started = time.monotonic()
        make = malformed if kind == "malformed" else well_formed
        path, body, ending = (*make(self.rng, self.server.model, self.prefix), None)[:3]
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                await connection.send(path, body)
                if kind == "cancelled":
                    await self.cancel(connection)
                    return
                status, fields = await connection.head()
                answer = await connection.body(fields)
        except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError) as error:
            connection.close()
            self.fail(f"{kind}: {type(error).__name__}", path, body, str(error).encode())
            return
        self.latencies_s.append(time.monotonic() - started)
        self.judge(kind, path, body, ending, status, answer)

    async def cancel(self, connection):
        """Leaves before the head, after it, or amid the body."""
        when = self.rng.random()
        if when < 0.3:
            await asyncio.sleep(self.rng.random() * 0.2)
        else:
            status, _ = await connection.head()
            self.counts[f"cancelled after status {status}"] += 1
            if when > 0.6:
                await connection.reader.read(64)
        connection.close()
        self.counts["cancelled"] += 1

    def judge(self, kind, path, body, ending, status, answer):
        self.counts[f"{kind}: {status}"] += 1
        if kind == "malformed":
            if not 400 <= status < 500 and status != 503:
                self.fail(f"malformed but {status}", path, body, answer)
            return
        if status == 503:
            return
        if status != 200:
            self.fail(f"well-formed but {status}", path, body, answer)
        elif not is_complete(answer, ending):
            self.fail("not complete", path, body, answer[-300:])
        # Sampled text may have bytes that are no character at all; the most probable text has not.
        elif b'"temperature": 0.8' not in body and ("\ufffd".encode() in answer or b"\\ufffd" in answer):
            self.fail("replacement character", path, body, answer[-300:])

    async def run(self, n_requests, n_connections):
        numbers = iter(range(n_requests))

        async def worker():
            connection = Connection(self.server)
            for number in numbers:
                await self.one(number, connection)
            connection.close()

        await asyncio.gather(*(worker() for _ in range(n_connections)))


def settle(server, seconds=60):
    """Waits until nothing runs or waits; returns what still does."""
    end = time.monotonic() + seconds
    while (busy := server.busy()) != (0, 0) and time.monotonic() < end:
        time.sleep(0.2)
    # Threads and allocators give back what they had a moment after the last answer.
    time.sleep(1)
    return busy


def mib(n_bytes):
    return "unknown" if n_bytes is None else f"{n_bytes / (1 << 20):.1f} MiB"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--paths", default="/", help="only endpoints whose path begins so, such as /api/")
    parser.add_argument("--warm-up", type=int, help="requests before memory is first measured (a third, 2000 at most)")
    parser.add_argument("--pid", type=int, help="the server's process, whose memory is measured")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--url", default=os.environ.get("SSD_LLM_URL", "http://127.0.0.1:11434"))
    parser.add_argument("--model", default=os.environ.get("SSD_LLM_MODEL"))
    args = parser.parse_args()
    server = Server(args.url, args.model, args.pid)
    warm_up = args.warm_up if args.warm_up is not None else min(2000, max(200, args.requests // 3))

    warming = Soak(server, args.paths, args.seed + 1)
    asyncio.run(warming.run(warm_up, args.connections))
    settle(server)
    before, files_before = server.rss_bytes(), server.n_open_files()

    soak = Soak(server, args.paths, args.seed)
    started = time.monotonic()
    asyncio.run(soak.run(args.requests, args.connections))
    elapsed_s = time.monotonic() - started
    busy = settle(server)
    after, files_after = server.rss_bytes(), server.n_open_files()

    print(f"soak: {args.requests} requests, {args.connections} connections, {elapsed_s:.1f} s, seed {args.seed}")
    for name, count in sorted(soak.counts.items()):
        print(f"  {count:6} {name}")
    if soak.latencies_s:
        ordered = sorted(soak.latencies_s)
        print(f"  latency: median {statistics.median(ordered):.2f} s, 99% {ordered[int(len(ordered) * 0.99)]:.2f} s")
    print(f"  memory: {mib(before)} after {warm_up} requests of warm-up, {mib(after)} at the end; files {files_before}, {files_after}")
    problems = warming.failures + soak.failures
    if busy != (0, 0):
        problems.append(f"still running, waiting: {busy}")
    if before is not None and after > before * (1 + FLAT_PERCENT / 100):
        problems.append(f"memory grew by {100 * (after / before - 1):.1f}%, more than {FLAT_PERCENT}%")
    if files_before is not None and files_after > files_before + 2:
        problems.append(f"open files grew from {files_before} to {files_after}")
    for problem in problems:
        print(f"FAILED {problem}")
    print("soak: " + ("FAILED" if problems else "ok"))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
