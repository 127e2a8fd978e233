#!/usr/bin/env python3
"""Records what llama.cpp says about SmolLM2-135M-Instruct.Q4_1.gguf, for the end-to-end tests to compare with.

    record.py FILE [greedy|perplexity|tokens ...]        writes greedy.json, perplexity.json and tokens.json beside itself

Needs numpy, jinja2 and llama-cpp-python (0.3.36 made the files here). The tests themselves use no Python.
"""

import json
import pathlib
import sys

import jinja2
import llama_cpp
import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parents[3]
sys.path.insert(0, str(TOP / "scripts" / "peers"))

import peer as peers  # noqa: E402

# Single-threaded: two threads of llama.cpp add in another order and spin while they wait.
THREADS = 1
N_GREEDY = 20
# A step counts as certain when llama.cpp's best logit is this far above its second; below that its own result moves with
# the number of threads.
CERTAIN_GAP = 0.5

RAW = [
    "The capital of France is",
    "The three laws of thermodynamics are",
    "In 1969, the first humans",
    "The largest planet in the solar system is",
    "1 1 1 1 1 1 1",
    "🎉🎉🎉🎉🎉🎉",
]
CHAT = [
    {"user": "Name the primary colours."},
    {"user": "Reply with the word yes."},
    {"user": "Name the primary colours.", "system": "Answer in French."},
]

# How many bytes of prose.txt, in windows of how many tokens.
PERPLEXITY = [(10_000, 512), (1_500, 64)]

TEXTS = [
    "",
    "Hello world",
    " Hello  world \n",
    "\t\ttabs\r\nand\n\n\nlines   ",
    "It's we'll they'VE don't",
    "3.14159 1234567890 0x1F 007",
    "naïve café Ünïcödé ßẞ İı",
    "你好,世界。こんにちは 안녕하세요",
    "👩‍👩‍👧‍👦🏳️‍🌈 e\u0301\u200d\u00a0\u3000|",
    "<|im_start|>user\nhi<|im_end|>\n<|endoftext|>",
    "a<|im_end|> <|im_end|><|im_end",
    "fn main() { println!(\"{:?}\", x_1 + y[2]); }",
    "-1 --flag = «quoted» … — ½ ²",
    "العربية עברית हिन्दी ไทย",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
]


def prose(n_bytes):
    return (TOP / "benches/data/prose.txt").read_bytes()[:n_bytes].decode()


def greedy_case(peer, prompt):
    tokens = peer.tokenize(prompt)
    peer.clear()
    row = peer.logits(tokens, 0, all_rows=False)[0]
    chosen, gaps = [], []
    for i in range(N_GREEDY):
        second, best = np.partition(row, -2)[-2:]
        gaps.append(float(best - second))
        chosen.append(int(row.argmax()))
        if peer.is_end(chosen[-1]):
            raise SystemExit(f"llama.cpp ends its answer to {prompt!r}; choose another prompt")
        row = peer.logits(chosen[-1:], len(tokens) + i, all_rows=False)[0]
    certain = next((i for i, gap in enumerate(gaps) if gap < CERTAIN_GAP), N_GREEDY)
    return {"prompt_tokens": len(tokens), "certain": certain, "tokens": chosen}


def template(peer):
    source = llama_cpp.llama_model_chat_template(peer.model, None).decode()
    return jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(source)


def render(peer, case):
    messages = [{"role": role, "content": case[role]} for role in ["system", "user"] if role in case]
    return template(peer).render(messages=messages, add_generation_prompt=True)


def greedy(peer):
    raw = [{"raw": prompt} | greedy_case(peer, prompt) for prompt in RAW]
    return raw + [case | greedy_case(peer, render(peer, case)) for case in CHAT]


def perplexity(peer):
    cases = []
    for n_bytes, n_ctx in PERPLEXITY:
        logprobs = [rows[np.arange(len(tokens)), tokens] for tokens, rows in peers.scored_rows(peer, prose(n_bytes), n_ctx)]
        scored = np.concatenate(logprobs)
        nll = -float(scored.mean())
        cases.append({"bytes": n_bytes, "ctx": n_ctx, "n_scored": len(scored), "perplexity": float(np.exp(nll))})
    return cases


def tokens(peer):
    def ids(text, parse_special):
        return peer.tokenize(text, add_special=False, parse_special=parse_special)

    return [{"text": t, "ids": ids(t, True), "no_parse_special": ids(t, False)} for t in TEXTS]


def main():
    path, *chosen = sys.argv[1:]
    peer = peers.Peer(path, 512, THREADS)
    recorders = {"greedy": greedy, "perplexity": perplexity, "tokens": tokens}
    for name in chosen or recorders:
        lines = [json.dumps(case, ensure_ascii=False) for case in recorders[name](peer)]
        (HERE / f"{name}.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")


main()
