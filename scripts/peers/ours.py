"""ssd-llm through its command line: runs the release binary with --json and reads what it prints."""

import json
import os
import pathlib
import subprocess

TOP = pathlib.Path(__file__).resolve().parents[2]


def binary():
    """The release binary: $SSD_LLM, else where cargo puts it."""
    folder = os.environ.get("CARGO_TARGET_DIR", TOP / "target")
    path = os.environ.get("SSD_LLM", str(pathlib.Path(folder) / "release" / "ssd-llm"))
    if not os.path.isfile(path):
        raise SystemExit(f"{path} does not exist: build it with `cargo build --release`, or name another in SSD_LLM")
    return path


def command(*arguments):
    """The command line of `ssd-llm ARGUMENTS --json`."""
    return [binary(), *map(str, arguments), "--json"]


def call(*arguments, stdin=None):
    """Runs `ssd-llm ARGUMENTS --json` and returns the object it prints."""
    words = command(*arguments)
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stderr.strip()}")
    return json.loads(done.stdout)


def perplexity(model, text, n_ctx, threads, top=None, kv_type=None):
    """The object of `perplexity`: perplexity, mean_nll, n_scored and with `top` a list of scored tokens."""
    options = ["--ctx", n_ctx, "--threads", threads]
    options += ["--logprobs", top] if top else []
    options += ["--kv-type", kv_type] if kv_type else []
    return call("perplexity", model, text, *options)


def generate(model, prompt, n, threads):
    """The object of a raw greedy `run`."""
    return call("run", model, "--raw", "-p", prompt, "-n", n, "--temperature", 0, "--threads", threads)


def tokenize(model, text):
    """Ids of `text` as the model's own settings for special tokens want them."""
    return call("tokenize", model, text, "--add-special")["tokens"]


def version():
    return subprocess.run([binary(), "--version"], capture_output=True, text=True, check=True).stdout.strip()
