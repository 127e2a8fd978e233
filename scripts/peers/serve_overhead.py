"""Decoding and first token of `serve` beside `run`: the same prompts, in turn.

    python3 scripts/peers/serve_overhead.py BINARY MODEL [FLAGS OF BOTH]

Needs nothing but Python. The server has its weights in memory when it is asked; a run reads them first, so that only the
rates of decoding compare.
"""

import json
import statistics
import subprocess
import sys
import threading
import time
import urllib.request

ROUNDS = 7
N_TOKENS = 128
CONTEXT = "--ctx=1024"


def prompt_of(round_: int) -> str:
    return f"Story {round_}: write a long story about a river and the people who live beside it, number {round_}."


def run(binary: str, model: str, prompt: str, flags: list[str]) -> tuple[float, float, str]:
    """Milliseconds to the first token, tokens a second, and the text, of `run`."""
    command = [binary, "run", model, "-p", prompt, f"-n{N_TOKENS}", "--temperature=0", CONTEXT, "--json", *flags]
    answer = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return answer["timings"]["prefill_ms"], answer["timings"]["tokens_per_second"], answer["text"]


def ask(address: str, prompt: str) -> tuple[float, float, str]:
    """The same of a server, by the clock of its client."""
    messages = [{"role": "user", "content": prompt}]
    body = {"model": "m", "messages": messages, "options": {"temperature": 0, "num_predict": N_TOKENS}}
    start, first, text = time.monotonic(), None, ""
    with urllib.request.urlopen(urllib.request.Request(f"{address}/api/chat", json.dumps(body).encode())) as reply:
        for line in reply:
            part = json.loads(line)
            last = time.monotonic()
            first = first or last
            text += part["message"]["content"]
    return (first - start) * 1e3, (part["eval_count"] - 1) / (last - first), text


def main() -> None:
    binary, model, *flags = sys.argv[1:]
    command = [binary, "serve", model, "--port=0", "--max-batch=1", CONTEXT, "--name=m", *flags]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    line = next(line for line in server.stderr if " at http://" in line)
    address = "http://" + line.split("http://")[1].split(",")[0].split(";")[0].strip()
    # A log that nobody reads would stop the server.
    threading.Thread(target=lambda: [None for _ in server.stderr], daemon=True).start()
    try:
        ask(address, "Hello")
        ratios, same = [], True
        for round_ in range(ROUNDS):
            prompt = prompt_of(round_)
            alone, served = run(binary, model, prompt, flags), ask(address, prompt)
            ratios.append(served[1] / alone[1])
            same &= alone[2] == served[2]
            print(f"run {alone[0]:.0f} ms, {alone[1]:.1f} tokens/s; serve {served[0]:.0f} ms, {served[1]:.1f} tokens/s")
        print(f"decoding {statistics.median(ratios):.3f} of run's, the same texts: {same}")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
