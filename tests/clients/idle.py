#!/usr/bin/env python3
"""A thousand idle SSE connections: how much of the server's memory they hold.

    idle.py --pid PID [--connections 1000] [--limit 50] [--url URL] [--model NAME]

Each connection reads one short stream of events to its end and then stays open, as a browser's or a pool's does. Passes when
resident memory grew by less than the limit (MiB), all connections still answer, and the server answers others meanwhile.
Linux only. Uses nothing but Python's library.
"""

import argparse
import asyncio
import json
import os
import resource
import sys
import time

import soak

AT_ONCE = 32


async def stream_once(connection, model):
    """One short stream of events, read to its end; a full queue is tried again."""
    body = json.dumps({"model": model, "prompt": "Hi", "max_tokens": 1, "temperature": 0, "stream": True}).encode()
    for _ in range(200):
        await connection.send("/v1/completions", body)
        status, fields = await connection.head()
        answer = await connection.body(fields)
        if status == 200:
            assert fields["content-type"].startswith("text/event-stream"), fields
            assert answer.endswith(b"data: [DONE]\n\n"), answer[-100:]
            return
        assert status == 503, (status, answer)
        await asyncio.sleep(0.1)
    raise AssertionError("the queue stays full")


async def hold(server, n_connections):
    """Opens and uses all connections, measures, uses them once more, and returns memory before and with them."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def use(connection):
        async with gate:
            await stream_once(connection, server.model)

    # As many requests at once as later, so that what a full batch needs is not counted as the connections'.
    warm = [soak.Connection(server) for _ in range(AT_ONCE)]
    for _ in range(3):
        await asyncio.gather(*(use(connection) for connection in warm))
    for connection in warm:
        connection.close()
    await asyncio.sleep(1)
    before = server.rss_bytes()

    connections = [soak.Connection(server) for _ in range(n_connections)]
    await asyncio.gather(*(use(connection) for connection in connections))
    await asyncio.sleep(1)
    with_all, n_files = server.rss_bytes(), server.n_open_files()

    started = time.monotonic()
    other = soak.Connection(server)
    await stream_once(other, server.model)
    print(f"  another client was answered in {time.monotonic() - started:.2f} s; the server has {n_files} files open")
    other.close()

    writers = [connection.writer for connection in connections]
    await asyncio.gather(*(use(connection) for connection in connections[:100]))
    kept = sum(connection.writer is writer for connection, writer in zip(connections, writers))
    for connection in connections:
        connection.close()
    return before, with_all, kept


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pid", type=int, required=True, help="the server's process, whose memory is measured")
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--limit", type=float, default=50, help="MiB that the connections may cost")
    parser.add_argument("--url", default=os.environ.get("SSD_LLM_URL", "http://127.0.0.1:11434"))
    parser.add_argument("--model", default=os.environ.get("SSD_LLM_MODEL"))
    args = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    server = soak.Server(args.url, args.model, args.pid)
    print(f"idle: {args.connections} connections")
    before, with_all, kept = asyncio.run(hold(server, args.connections))
    growth_mib = (with_all - before) / (1 << 20)
    print(f"  memory: {soak.mib(before)} before, {soak.mib(with_all)} with them: {growth_mib:.1f} MiB of {args.limit:.0f} MiB")
    problems = []
    if growth_mib >= args.limit:
        problems.append(f"memory grew by {growth_mib:.1f} MiB")
    if kept < args.connections:
        problems.append(f"only {kept} connections were kept open")
    if soak.settle(server) != (0, 0):
        problems.append("something still runs or waits")
    for problem in problems:
        print(f"FAILED {problem}")
    print("idle: " + ("FAILED" if problems else "ok"))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
