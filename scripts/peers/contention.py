#!/usr/bin/env python3
"""Decoding while another process takes one of the cores: N threads against one fewer, each with and without the other.

    contention.py FILE [--threads 2] [--rounds 5] [--tokens 48] [--free] [--peer]

The other process is a busy loop in a session of its own, held to the last core of this process or, with `--free`, wherever
the system puts it. Every round measures all cases in turn, and the figures are medians of tokens a second. With `--peer`
llama.cpp runs beside ssd-llm (needs numpy and llama-cpp-python). Linux only. Ends with status 1 when N threads are slower
than 0.9 times one thread fewer while the core is taken.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys

import ours

PROMPT = "The river ran slowly past the old mill,"
GOAL = 0.9


@contextlib.contextmanager
def busy(core):
    """A process that never waits, on one core or anywhere."""
    words = ["sh", "-c", "while :; do :; done"]
    pinned = ["taskset", "-c", str(core), *words] if core is not None else words
    process = subprocess.Popen(pinned, start_new_session=True)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def our_speed(args, threads):
    options = ["--raw", "-p", PROMPT, "-n", args.tokens, "--temperature", 0, "--threads", threads]
    return ours.call("run", args.file, *options)["timings"]["tokens_per_second"]


def peer_speeds(args):
    """A function from threads to llama.cpp's speed, with a model for each number of threads kept open."""
    from peer import Peer

    peers = {}

    def speed(threads):
        peer = peers.setdefault(threads, None) or Peer(args.file, 256, threads)
        peers[threads] = peer
        _, seconds = peer.time_generation(peer.tokenize(PROMPT), args.tokens)
        return args.tokens / seconds

    return speed


def measure(args, programs):
    """Tokens a second of every round by (program, threads, whether a core is taken)."""
    core = None if args.free else max(os.sched_getaffinity(0))
    found = {}
    for _ in range(args.rounds):
        for taken in [False, True]:
            with busy(core) if taken else contextlib.nullcontext():
                for name, speed in programs.items():
                    for threads in [args.threads - 1, args.threads]:
                        found.setdefault((name, threads, taken), []).append(speed(threads))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--free", action="store_true", help="let the system place the other process")
    parser.add_argument("--peer", action="store_true", help="measure llama.cpp too")
    args = parser.parse_args()
    if args.threads < 2:
        parser.error("one thread has none fewer to compare with")
    programs = {"ssd-llm": lambda threads: our_speed(args, threads)}
    if args.peer:
        programs["llama.cpp"] = peer_speeds(args)
    found = measure(args, programs)
    missed = False
    for name in programs:
        for taken in [False, True]:
            fewer, all_of_them = (found[name, threads, taken] for threads in [args.threads - 1, args.threads])
            ratio = statistics.median(all_of_them) / statistics.median(fewer)
            state = "one core taken" if taken else "undisturbed"
            print(
                f"{name:10} {state:15} {args.threads - 1} threads {statistics.median(fewer):7.1f} t/s "
                f"({min(fewer):.1f} to {max(fewer):.1f}), {args.threads} threads {statistics.median(all_of_them):7.1f} t/s "
                f"({min(all_of_them):.1f} to {max(all_of_them):.1f}), ratio {ratio:.2f}"
            )
            missed |= name == "ssd-llm" and taken and ratio < GOAL
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
