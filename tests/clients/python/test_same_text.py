"""One text by every road: streamed, whole, in a batch, over each API, and from `ssd-llm run`, under the same seed.

SSD_LLM_BIN and SSD_LLM_MODEL_FILE name the program and the file that the server runs; without them `run` is left out.
"""

import concurrent.futures
import json
import os
import secrets
import subprocess

import pytest
import support

PROMPT = "Write two sentences about the sea."
MESSAGES = [{"role": "user", "content": PROMPT}]
# Every value is stated, because the APIs and the command line have defaults of their own.
SAMPLERS = {
    "greedy": {"temperature": 0, "seed": 1},
    "sampled": {"temperature": 0.8, "seed": 42, "top_k": 40, "top_p": 0.9},
    "hot": {"temperature": 1.5, "seed": 7, "top_k": 0, "top_p": 1.0},
}
N_TOKENS = 32


def ollama(sampler, stream=False, **more):
    options = {**SAMPLERS[sampler], "min_p": 0, "repeat_penalty": 1.0, "num_predict": N_TOKENS}
    body = {"model": support.model(), "messages": MESSAGES, "options": options, "stream": stream, **more}
    answer = support.post("/api/chat", body).raise_for_status()
    return "".join(json.loads(line)["message"]["content"] for line in answer.text.splitlines())


def openai(sampler, stream=False):
    # top_k, min_p and repeat_penalty are no fields of OpenAI's, and are taken as llama.cpp takes them.
    more = {"min_p": 0, "repeat_penalty": 1.0, "max_tokens": N_TOKENS, "stream": stream}
    body = {"model": support.model(), "messages": MESSAGES, **SAMPLERS[sampler], **more}
    answer = support.post("/v1/chat/completions", body).raise_for_status()
    if not stream:
        return answer.json()["choices"][0]["message"]["content"]
    events = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ") and line != "data: [DONE]"]
    return "".join(json.loads(event)["choices"][0]["delta"].get("content") or "" for event in events)


def run(sampler):
    program, file = os.environ.get("SSD_LLM_BIN"), os.environ.get("SSD_LLM_MODEL_FILE")
    if not program or not file:
        pytest.skip("SSD_LLM_BIN and SSD_LLM_MODEL_FILE are not set")
    flags = {"min-p": 0, "repeat-penalty": 1.0, "max-tokens": N_TOKENS, "memory-budget": "400M", "prompt": PROMPT}
    flags |= {name.replace("_", "-"): value for name, value in SAMPLERS[sampler].items()}
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    done = subprocess.run([program, "run", file, "--json", *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["text"]


every_sampler = pytest.mark.parametrize("sampler", SAMPLERS)


@every_sampler
def test_streamed_is_not_streamed(sampler):
    assert ollama(sampler, stream=True) == ollama(sampler)


@every_sampler
def test_openai_streamed_is_not_streamed(sampler):
    assert openai(sampler, stream=True) == openai(sampler)


@every_sampler
def test_the_apis_agree(sampler):
    assert openai(sampler) == ollama(sampler)


@every_sampler
def test_the_server_says_what_run_says(sampler):
    # Whether the last line end is printed is the command line's business.
    assert ollama(sampler).rstrip("\n") == run(sampler).rstrip("\n")


@every_sampler
def test_a_batch_says_what_one_alone_says(sampler):
    alone = ollama(sampler)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert set(pool.map(lambda _: ollama(sampler), range(16))) == {alone}


@every_sampler
def test_neighbours_in_a_batch_do_not_matter(sampler):
    alone = ollama(sampler)
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        others = [pool.submit(ollama, name, messages=[{"role": "user", "content": f"Number {n}?"}]) for n in range(3) for name in SAMPLERS]
        assert pool.submit(ollama, sampler).result() == alone
        assert all(other.result() for other in others)


@every_sampler
@pytest.mark.parametrize("raw", [False, True])
def test_the_second_time_says_what_the_first_time_said(sampler, raw):
    """The second time the prompt is remembered, which may change the speed and nothing else; so each run asks anew."""
    options = {**SAMPLERS[sampler], "min_p": 0, "repeat_penalty": 1.0, "num_predict": N_TOKENS}
    for _ in range(3):
        prompt = f"{secrets.token_hex(4)}. {PROMPT}"
        body = {"model": support.model(), "prompt": prompt, "raw": raw, "options": options, "stream": False}
        first, *others = [support.post("/api/generate", body).json()["response"] for _ in range(3)]
        assert others == [first, first], prompt


@every_sampler
def test_a_remembered_beginning_changes_nothing(sampler):
    """A conversation's next turn begins with what was computed for the last; asked alone elsewhere it says the same."""
    options = {**SAMPLERS[sampler], "min_p": 0, "repeat_penalty": 1.0, "num_predict": N_TOKENS}
    beginning = f"{secrets.token_hex(4)}. The sea is wide, and ships have crossed it for as long as there have been ships."
    whole = {"model": support.model(), "prompt": f"{beginning} Fishermen say that", "raw": True, "options": options, "stream": False}
    first = support.post("/api/generate", whole).json()["response"]
    support.post("/api/generate", {**whole, "prompt": beginning, "options": {**options, "num_predict": 1}})
    assert support.post("/api/generate", whole).json()["response"] == first, beginning


def test_logprobs_and_formats_do_not_change_greedy_text():
    assert ollama("greedy", logprobs=True, top_logprobs=5) == ollama("greedy")
