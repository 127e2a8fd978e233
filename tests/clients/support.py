"""What every client's tests share: where the server is, which model it has, and texts that are hard on a server.

Nothing here connects when it is imported, so that tests can be collected without a server.
"""

import asyncio
import base64
import functools
import os
import time

import httpx

URL = os.environ.get("SSD_LLM_URL", "http://127.0.0.1:11434").rstrip("/")
NO_SUCH_MODEL = "no-such-model"

# Greedy and short: the model under test is small and the tests are many.
GREEDY = {"temperature": 0, "num_predict": 12}
SEEDED = {"temperature": 0.9, "seed": 42, "num_predict": 16}

# A base model continues a run of emoji and CJK with more of them; each is several bytes and often several tokens.
UNICODE_PROMPT = "🦀🦀🦀 漢字漢字 été été 🦀🦀🦀 漢字漢字 été été 🦀🦀🦀 漢字漢字"
LONG_WORDS = "one two three four five six seven eight nine ten "

# Bounded on purpose: a small model may otherwise write one string for ever.
PERSON_SCHEMA = {
    "type": "object",
    "properties": {
        "colour": {"type": "string", "enum": ["red", "green", "blue"]},
        "alive": {"type": "boolean"},
    },
    "required": ["colour", "alive"],
    "additionalProperties": False,
}

WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "name of the city"}},
            "required": ["city"],
        },
    },
}

# One red pixel, for models that cannot see and must say so.
PIXEL_PNG = base64.b64encode(
    base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
    )
).decode()


@functools.cache
def model():
    """The model's name: from the environment, else the first that the server lists."""
    given = os.environ.get("SSD_LLM_MODEL")
    if given:
        return given
    return httpx.get(f"{URL}/api/tags", timeout=60).raise_for_status().json()["models"][0]["name"]


@functools.cache
def capabilities():
    shown = httpx.post(f"{URL}/api/show", json={"model": model()}, timeout=60).raise_for_status().json()
    return frozenset(shown.get("capabilities") or [])


def post(path, body, **more):
    return httpx.post(URL + path, json=body, timeout=120, **more)


def get(path, **more):
    return httpx.get(URL + path, timeout=60, **more)


def n_tokens(text):
    """How many tokens a text has, as the server counts them."""
    return len(post("/tokenize", {"content": text}).raise_for_status().json()["tokens"])


def n_prompt_tokens(messages):
    """How many tokens a conversation has, once the chat template is around it."""
    return n_tokens(post("/apply-template", {"messages": messages}).raise_for_status().json()["prompt"])


def metrics():
    """The values of /metrics by name; those with labels are added up."""
    values = {}
    for line in get("/metrics").raise_for_status().text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            name = name.partition("{")[0]
            values[name] = values.get(name, 0) + float(value)
    return values


def running_and_waiting():
    """How many requests are computed, and how many wait, from /metrics by its own names."""
    values = metrics()
    running = values["ssd_llm_requests_prefilling"] + values["ssd_llm_requests_decoding"]
    return running, values["ssd_llm_requests_queued"]


def wait_until_idle(seconds=30):
    """Waits until nothing is computed and nothing waits; a slot that stays taken is a failure."""
    end = time.monotonic() + seconds
    while True:
        busy = running_and_waiting()
        if busy == (0, 0):
            return
        assert time.monotonic() < end, f"after {seconds} s still running, waiting: {busy}"
        time.sleep(0.1)


def is_unbroken(text):
    """No replacement character, which is what a character cut in two turns into."""
    return "\ufffd" not in text


def run_async(coroutine):
    return asyncio.run(coroutine)
