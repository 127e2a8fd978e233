#!/usr/bin/env python3
"""Measures ssd-llm on models bigger than memory, in memory control groups, against the disk's own rate and llama.cpp.

    streaming.py limit       FILE     decode as a share of what disk and arithmetic allow
    streaming.py versus      FILE     decode against llama.cpp with a memory map, in the same group
    streaming.py prefill     FILE     bytes and time of a prompt of 512 tokens
    streaming.py first-token FILE     a model that fits: from the start of the process to the first token, cold and warm
    streaming.py spread      FILE     how much runs differ, and how much of that is the disk
    streaming.py plan        FILE     the speed that `plan` predicts against the one measured next
    streaming.py overcommit  FILE     a budget larger than the group allows, against a right one
    streaming.py same        FILE     the same text and log-probabilities at every budget, reader, cache and thread count
    streaming.py all         FILE     all of these in this order

Needs Linux, root (all but `same`) and the release binary of ssd-llm; numpy and llama-cpp-python for
`versus`. docs/streaming.md says what each figure means. Ends with status 1 when a goal is missed.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import re
import signal
import sys
import time

import machine
import ours
from report import Report, markdown, median, show, write_json

PROMPT = "The river ran slowly past the old mill,"
MIB = 1 << 20

# What a group has beyond the budget that the program is told: pages of the program itself, of the kernel, of the shell.
GROUP_ROOM = 1.05
# Of the budget, what slots, activations, tokenizer and program may take before weights are kept.
FIXED_SHARE = 0.08
VERSUS_GOALS = {1.25: 3.8, 1.5: 2.6, 2.0: 1.8, 4.0: 1.25}
PREFILL_TOKENS = 512
PREFILL_BYTES_GOAL = 1.02
PREFILL_TIME_GOAL = 1.15
PLAN_GOAL = 0.15
OVERCOMMIT_GOAL = 0.8


# -- runs ---------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Run:
    """One run of a program: its JSON object, if it came to that, or why it did not."""

    result: dict | None
    trouble: str | None
    group: dict | None
    wall_s: float
    first_byte_s: float | None
    disk: float | None = None

    @property
    def speed(self):
        """Decoded tokens a second."""
        return self.result["timings"]["tokens_per_second"] if self.result else None

    @property
    def n_passes(self):
        """Passes of the decoding: one fewer than tokens, unless the model itself ended the text."""
        timings = self.result["timings"]
        return max(round(timings["tokens_per_second"] * timings["decode_ms"] / 1e3), 1)

    @property
    def prefill_bytes(self):
        """Bytes read for the prompt, which is the first pass."""
        io = self.result["io"]
        return io.get("prefill_bytes_read", io["bytes_read"] - io["bytes_per_token"] * self.n_passes)

    @property
    def kept(self):
        return self.result["memory"]["pinned_bytes"] if self.result else None

    @property
    def peak(self):
        return self.result["memory"]["peak_bytes"] if self.result else None

    @property
    def bytes_per_token(self):
        return self.result["io"]["bytes_per_token"] if self.result else None

    def decode_compute_s(self):
        """Seconds that a decoding pass computes, and whether that is only an estimate.

        Without figures of the decoding alone, the time computed in all is shared evenly: the prompt is short here, and its
        pass costs somewhat more, so the estimate is too high.
        """
        io, decode_ms = self.result["io"], self.result["timings"]["decode_ms"]
        if "decode_compute_ms" in io:
            return io["decode_compute_ms"] / 1e3 / self.n_passes, False
        if "decode_stall_ms" in io:
            return (decode_ms - io["decode_stall_ms"]) / 1e3 / self.n_passes, False
        return io["compute_ms"] / 1e3 / (self.n_passes + 1), True

    def prefill_compute_s(self):
        """Seconds that the prompt's pass computes, and whether that is only an estimate (with one decoding pass in it)."""
        io, timings = self.result["io"], self.result["timings"]
        if "prefill_compute_ms" in io:
            return io["prefill_compute_ms"] / 1e3, False
        if "prefill_stall_ms" in io:
            return (timings["prefill_ms"] - io["prefill_stall_ms"]) / 1e3, False
        if "decode_stall_ms" in io:
            return (timings["prefill_ms"] - io["stall_ms"] + io["decode_stall_ms"]) / 1e3, False
        return io["compute_ms"] / 1e3, True


class Session:
    """One command's measurements of one file; every run is kept in its report."""

    def __init__(self, args, report):
        self.args, self.report, self.file = args, report, args.file
        self.plan = ours.call("plan", self.file, "--ctx", args.ctx)
        self.weights = self.plan["weights_bytes"]
        # How weights are read where half of them are streamed.
        half = self.weights // 2 + self.plan["kv_bytes"]
        self.streaming = ours.call("plan", self.file, "--ctx", args.ctx, "--memory-budget", half)

    def rounds(self, of):
        """All of `of`, in turn, as many times as there are rounds: what is compared is measured in alternation."""
        for i in range(self.args.rounds):
            for one in of:
                yield i, one

    def flags(self, budget, **other):
        """Engine flags; `other` goes before what the command line of this script says."""
        flags = {"ctx": self.args.ctx, "threads": self.args.threads, "memory-budget": int(budget), "io": self.args.io}
        flags |= {"max-read-rate": self.args.max_read_rate}
        flags |= {name.replace("_", "-"): value for name, value in other.items()}
        return [word for name, value in flags.items() if value is not None for word in (f"--{name}", value)]

    def generate(self, budget, n, prompt=PROMPT, cold=True, limit=None, **flags):
        """One raw greedy `run`, in a group of `limit` bytes if that is given."""
        words = ["run", self.file, "--raw", "-p", prompt, "-n", n, "--temperature", 0, *self.flags(budget, **flags)]
        run = self.execute(ours.command(*words), cold, limit)
        if run.result and len(run.result["tokens"]) < n:
            self.report.note(f"the model ended its text after {len(run.result['tokens'])} of {n} tokens")
        return run

    def execute(self, words, cold=True, limit=None):
        """Runs a command that prints one JSON object."""
        if cold:
            machine.drop_caches()
        with machine.MemoryGroup(limit) if limit else contextlib.nullcontext() as group:
            done = machine.execute(words, group, self.args.timeout)
        trouble = done.trouble()
        result = json.loads(done.stdout) if trouble is None else None
        run = Run(result, trouble, done.group, done.wall_s, done.first_byte_s)
        self.report.runs.append({"at": time.strftime("%FT%T%z"), "command": done.command, **dataclasses.asdict(run)})
        if trouble:
            self.report.note(f"{os.path.basename(done.command[0])}: {trouble}")
        return run

    def with_disk(self, measure, *arguments, **options):
        """A run with the disk's rate, the mean of before and after, beside it."""
        before = self.disk_rate(0)
        run = measure(*arguments, **options)
        after = self.disk_rate(1 / 2)
        run.disk = (before + after) / 2
        self.report.runs[-1] |= {"disk": run.disk, "disk_before": before, "disk_after": after}
        return run

    def reads(self):
        """Size and number of the reads that measure D: the program's own, in whole blocks."""
        request_bytes = self.args.request_bytes or -(-self.streaming["request_bytes"] // 4096) * 4096
        return request_bytes, self.args.depth or self.streaming["read_depth"]

    def disk_rate(self, start):
        """D: what the disk gives to direct reads now, or the pace that the program is told to keep if that is slower.

        `start` is where in the file to begin, from 0 to 1. Before and after a run it differs, because a disk, or whatever
        is behind it, may know one part of the file better than another.
        """
        args = self.args
        request_bytes, depth = self.reads()
        first = int(start * os.path.getsize(self.file)) // request_bytes * request_bytes
        rate = machine.direct_rate(self.file, machine.Reads(request_bytes, depth, args.disk_seconds, first))
        pace = self.args.max_read_rate
        return min(rate, parse_size(pace)) if pace else rate

    def estimated(self, pair):
        """The first of a pair; says so if the second tells that it is an estimate."""
        if pair[1]:
            self.report.note("C is an estimate: this ssd-llm does not tell the time waited in each phase.")
        return pair[0]


def parse_size(text):
    """Bytes of `200M`, as ssd-llm reads it."""
    match = re.fullmatch(r"([0-9.]+)\s*([KMGT]?)(i?B)?", text.strip(), re.IGNORECASE)
    if not match:
        raise SystemExit(f"{text} is no size such as 8G, 1.5G or 200M")
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " "))


def worst(values):
    known = [value for value in values if value is not None]
    return max(known) if known else None


def seen(runs, name):
    """What the groups of some runs saw, one figure each."""
    return [run.group[name] for run in runs]


def troubles(runs):
    """In a word or two what went wrong; the notes below the table have the messages."""
    return ", ".join(dict.fromkeys(run.trouble.partition(":")[0] for run in runs if run.trouble)) or "none"


# -- limit --------------------------------------------------------------------------------------------------------------


def limit(session, args, report):
    """tokens/s against 1 / max((S - P) / D, C), and the memory that it took"""
    runs = {ratio: [] for ratio in args.ratios}
    for _, ratio in session.rounds(args.ratios):
        budget = session.weights / ratio
        runs[ratio].append(session.with_disk(session.generate, budget, args.n, limit=budget * GROUP_ROOM))
    for ratio, own in runs.items():
        limit_row(session, args, report, ratio, own)


def limit_row(session, args, report, ratio, runs):
    budget, worked = session.weights / ratio, [run for run in runs if run.result]
    computes = [session.estimated(run.decode_compute_s()) for run in worked]
    limits = [1 / max((session.weights - run.kept) / run.disk, c) for run, c in zip(worked, computes)]
    percent = median(100 * run.speed / limit_ for run, limit_ in zip(worked, limits))
    kept, own_peak, peak = median(run.kept for run in worked), worst(run.peak for run in worked), worst(seen(runs, "peak"))
    report.row(**{
        "S/B": ratio,
        "B MiB": show(budget / MIB, "{:.0f}"),
        "tok/s": show(median(run.speed for run in worked), "{:.3f}"),
        "MiB/token": show(median(run.bytes_per_token / MIB for run in worked), "{:.1f}"),
        "D MB/s": show(median(run.disk / 1e6 for run in runs), "{:.0f}"),
        "C ms": show(median(c * 1e3 for c in computes), "{:.0f}"),
        "limit": show(median(limits), "{:.3f}"),
        "percent": show(percent, "{:.1f}"),
        "pinned MiB": show(kept and kept / MIB, "{:.0f}"),
        "own peak MiB": show(own_peak and own_peak / MIB, "{:.0f}"),
        "group peak MiB": show(peak and peak / MIB, "{:.0f}"),
        "oom kills": sum(seen(runs, "oom_kills")),
        "group full": sum(seen(runs, "failcnt")),
        "trouble": troubles(runs),
    })
    goal = f">= {args.goal:g}%" if args.goal else ""
    reached = None if not args.goal else percent is not None and percent >= args.goal
    report.figure("share of the limit", show(percent, "{:.1f}%"), goal, reached, ratio)
    least = min(budget - session.plan["kv_bytes"] - FIXED_SHARE * budget, session.weights)
    share = kept and kept / (budget - session.plan["kv_bytes"])
    enough = kept is not None and kept >= least
    report.figure("weights kept, of budget less KV", show(share, "{:.3f}"), "B - KV - 8% of B", enough, ratio)
    for name, value in [("peak that the program tells, of budget", own_peak), ("peak of the group, of budget", peak)]:
        # None where the kernel does not tell.
        within = None if value is None else value <= budget
        report.figure(name, show(value and value / budget, "{:.3f}"), "<= 1", within, ratio)
    kills = sum(seen(runs, "oom_kills"))
    report.figure("killed for memory", str(kills), "0", kills == 0, ratio)


# -- versus -------------------------------------------------------------------------------------------------------------


def versus(session, args, report):
    """tokens/s of decoding, ssd-llm and llama.cpp in turn in groups of the same size, caches dropped before each"""
    ahead = machine.disk_of(args.file)["read_ahead_kb"]
    report.note(f"read_ahead_kb of the disk: {ahead}; llama.cpp maps the file and does not repack")
    pairs = {ratio: [] for ratio in args.ratios}
    for _, ratio in session.rounds(args.ratios):
        budget = session.weights / ratio
        room = budget * GROUP_ROOM
        mine = session.with_disk(session.generate, budget, args.n + 1, limit=room)
        theirs = session.with_disk(session.execute, peer_command(args), limit=room)
        pairs[ratio].append((mine, theirs))
    for ratio, own in pairs.items():
        versus_row(report, ratio, own)


def versus_row(report, ratio, pairs):
    mine, theirs = [a for a, _ in pairs], [b for _, b in pairs]
    both = [(a.speed, peer_speed(b)) for a, b in pairs if a.result and b.result]
    times = median(a / b for a, b in both)
    goal = VERSUS_GOALS.get(ratio)
    report.row(**{
        "S/B": ratio,
        "ssd-llm tok/s": show(median(run.speed for run in mine), "{:.3f}"),
        "ssd-llm MB/token": show(median(run.bytes_per_token / 1e6 for run in mine if run.result), "{:.0f}"),
        "D MB/s": show(median(run.disk / 1e6 for run in mine), "{:.0f}"),
        "llama.cpp tok/s": show(median(map(peer_speed, theirs)), "{:.3f}"),
        "llama.cpp MB/token": show(median(run.result["bytes_per_token"] / 1e6 for run in theirs if run.result), "{:.0f}"),
        "D beside it": show(median(run.disk / 1e6 for run in theirs), "{:.0f}"),
        "ratio": show(times),
        "goal": show(goal),
        "same tokens": show(median(same_tokens(a, b) for a, b in pairs), "{:.0f}"),
        "trouble": troubles(mine),
        "llama.cpp's": troubles(theirs),
    })
    # Where only llama.cpp fails there is nothing to be compared with, and nothing missed.
    alone = goal is None or (times is None and any(run.result for run in mine))
    good = None if alone else times is not None and times >= goal
    value = show(times, "{:.2f}x") if both else f"ssd-llm: {troubles(mine)}; llama.cpp: {troubles(theirs)}"
    report.figure("decode, times llama.cpp's", value, f">= {goal}x" if goal else "", good, ratio)


def same_tokens(mine, theirs):
    """How many greedy tokens agree before the first that does not. Models of random weights are undecided early."""
    if not (mine.result and theirs.result):
        return None
    pairs = list(zip(mine.result["tokens"], theirs.result["tokens"]))
    return next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))


def peer_speed(run):
    return len(run.result["passes_s"]) / sum(run.result["passes_s"]) if run.result else None


def peer_command(args):
    """llama.cpp in a process of its own: this script again."""
    words = [sys.executable, os.path.abspath(__file__), "peer-decode", args.file, "-n", args.n, "--ctx", args.ctx]
    return [*words, "--threads", args.threads, "--seconds", args.timeout / 2]


def peer_decode(args):
    """Decodes with llama.cpp and prints seconds for loading, the prompt and each pass."""
    import peer as peers  # Only here, so that the rest needs neither numpy nor llama-cpp-python.

    begin = time.perf_counter()
    peer = peers.Peer(args.file, args.ctx, args.threads, as_file=True, n_batch=512)
    loaded = time.perf_counter()
    prompt = peer.tokenize(PROMPT)
    row = peer.logits(prompt, 0, all_rows=False)[0]
    tokens, passes, at = [int(row.argmax())], [], time.perf_counter()
    prefill_s, read = at - loaded, disk_bytes_read()
    # A slow disk ends this early; the passes done are enough.
    while len(passes) < args.n and (not passes or sum(passes) < args.seconds):
        row = peer.logits([tokens[-1]], len(prompt) + len(passes), all_rows=False)[0]
        tokens.append(int(row.argmax()))
        now = time.perf_counter()
        passes.append(now - at)
        at = now
    result = {"prompt_tokens": len(prompt), "tokens": tokens, "load_s": loaded - begin, "prefill_s": prefill_s}
    read = (disk_bytes_read() - read) / len(passes)
    json.dump(result | {"passes_s": passes, "bytes_per_token": read}, sys.stdout)


def disk_bytes_read():
    """Bytes that this process has made the disk read, page faults included."""
    with open("/proc/self/io", encoding="utf-8") as file:
        return int(next(line for line in file if line.startswith("read_bytes")).split()[1])


# -- prefill ------------------------------------------------------------------------------------------------------------


def prefill(session, args, report):
    """a prompt of 512 tokens, which is also the first pass and so loads what is kept"""
    prompt = prompt_of(args.file, PREFILL_TOKENS)
    runs = {ratio: [] for ratio in args.ratios}
    for _, ratio in session.rounds(args.ratios):
        budget = session.weights / ratio
        room = budget * GROUP_ROOM
        runs[ratio].append(session.with_disk(session.generate, budget, args.n, prompt=prompt, limit=room))
    for ratio, own in runs.items():
        worked = [run for run in own if run.result]
        computes = [session.estimated(run.prefill_compute_s()) for run in worked]
        reads = median(run.prefill_bytes / session.weights for run in worked)
        seconds = [run.result["timings"]["prefill_ms"] / 1e3 for run in worked]
        ideals = [max(session.weights / run.disk, compute) for run, compute in zip(worked, computes)]
        times = median(took / ideal for took, ideal in zip(seconds, ideals))
        report.row(**{
            "S/B": ratio,
            "tokens": show(median(run.result["prompt_tokens"] for run in worked), "{:.0f}"),
            "seconds": show(median(seconds)),
            "S/D s": show(median(session.weights / run.disk for run in worked)),
            "compute s": show(median(computes)),
            "bytes/S": show(reads, "{:.4f}"),
            "time/ideal": show(times),
            "trouble": troubles(own),
        })
        good = reads is not None and reads <= PREFILL_BYTES_GOAL
        report.figure("prefill, bytes read of S", show(reads, "{:.4f}"), f"<= {PREFILL_BYTES_GOAL}", good, ratio)
        good = times is not None and times <= PREFILL_TIME_GOAL
        report.figure("prefill, time of max(S/D, compute)", show(times), f"<= {PREFILL_TIME_GOAL}", good, ratio)


def prompt_of(file, n_tokens):
    """The beginning of the prose that has exactly so many tokens."""
    text = (ours.TOP / "benches/data/prose.txt").read_text(encoding="utf-8")
    low, high = 0, len(text)
    while low < high:
        middle = (low + high) // 2
        if len(ours.tokenize(file, text[:middle])) < n_tokens:
            low = middle + 1
        else:
            high = middle
    # The number of tokens can skip one where a longer word becomes a single token.
    for end in range(max(low - 16, 1), min(low + 64, len(text))):
        if len(ours.tokenize(file, text[:end])) == n_tokens:
            return text[:end]
    raise SystemExit(f"no beginning of the prose has exactly {n_tokens} tokens")


# -- first token --------------------------------------------------------------------------------------------------------


def first_token(session, args, report):
    """a model that fits: seconds from the start of the process to the first token, caches dropped, and once more warm"""
    ideals, cold, warm, n_bytes = [], [], [], os.path.getsize(args.file)
    for _, _ in session.rounds([None]):
        rate = session.disk_rate(0)
        cold.append(session.generate(2 * session.weights, 1))
        warm.append(session.generate(2 * session.weights, 1, cold=False))
        # In this order, because measuring empties the page cache.
        ideals.append(n_bytes / ((rate + session.disk_rate(1 / 2)) / 2))
    times = median(run.first_byte_s / ideal for run, ideal in zip(cold, ideals) if run.result)
    report.row(**{
        "file MiB": show(n_bytes / MIB, "{:.0f}"),
        "file/D s": show(median(ideals)),
        "cold s": show(median(run.first_byte_s for run in cold)),
        "cold/ideal": show(times),
        "warm s": show(median(run.first_byte_s for run in warm)),
        "trouble": troubles(cold + warm),
    })
    goal = f"<= {args.goal:g}" if args.goal else ""
    good = None if not args.goal else times is not None and times <= args.goal
    report.figure("first token of a model that fits, time of file/D", show(times), goal, good)
    report.figure("first token of a model that fits, warm start", show(median(r.first_byte_s for r in warm), "{:.2f} s"))


# -- spread -------------------------------------------------------------------------------------------------------------


def spread(session, args, report):
    """(max - min) / median of tokens/s over the same run many times, and of tokens/s over D measured beside each"""
    for ratio in args.ratios:
        budget, runs = session.weights / ratio, []
        for _ in session.rounds([None]):
            runs.append(session.with_disk(session.generate, budget, args.n, limit=budget * GROUP_ROOM))
        worked = [run for run in runs if run.result]
        speeds, disks = [run.speed for run in worked], [run.disk for run in worked]
        of_speed, of_disk = spread_of(speeds), spread_of(disks)
        of_both = spread_of([speed / disk for speed, disk in zip(speeds, disks)])
        report.row(**{
            "S/B": ratio,
            "runs": len(worked),
            "tok/s": show(median(speeds), "{:.3f}"),
            "spread": show(of_speed, "{:.1%}"),
            "D MB/s": show(median(disk / 1e6 for disk in disks), "{:.0f}"),
            "spread of D": show(of_disk, "{:.1%}"),
            "spread of tok/s / D": show(of_both, "{:.1%}"),
            "trouble": troubles(runs),
        })
        for name, value in [("tokens/s", of_speed), ("D", of_disk), ("tokens/s / D", of_both)]:
            goal = f"<= {args.goal:g}%" if args.goal and name == "tokens/s" else ""
            good = None if not goal else value is not None and 100 * value <= args.goal
            report.figure(f"spread of {name}", show(value, "{:.1%}"), goal, good, ratio)


def spread_of(values):
    return (max(values) - min(values)) / median(values) if values else None


# -- plan ---------------------------------------------------------------------------------------------------------------


def plan(session, args, report):
    """tokens/s as `plan` predicts them and as decoded right after it, in groups of the same size"""
    pairs = {ratio: [] for ratio in args.ratios}
    for _, ratio in session.rounds(args.ratios):
        budget = session.weights / ratio
        room = budget * GROUP_ROOM
        words = ours.command("plan", args.file, *session.flags(budget))
        predicted = session.execute(words, limit=room)
        pairs[ratio].append((predicted, session.generate(budget, args.n, limit=room)))
    for ratio, own in pairs.items():
        both = [(p.result["predicted_tokens_per_second"], m.speed) for p, m in own if p.result and m.result]
        off = median(predicted / measured - 1 for predicted, measured in both)
        report.row(**{
            "S/B": ratio,
            "predicted": show(median(predicted for predicted, _ in both), "{:.3f}"),
            "measured": show(median(measured for _, measured in both), "{:.3f}"),
            "off": show(off, "{:+.1%}"),
            "each": " ".join(f"{predicted / measured - 1:+.1%}" for predicted, measured in both) or "-",
            "trouble": troubles([run for pair in own for run in pair]),
        })
        good = off is not None and abs(off) <= PLAN_GOAL
        report.figure("prediction of `plan`, off by", show(off, "{:+.1%}"), f"within {PLAN_GOAL:.0%}", good, ratio)


# -- overcommit ---------------------------------------------------------------------------------------------------------


def overcommit(session, args, report):
    """tokens/s with a budget of 1.25 times what the group allows, against a budget of 0.95 of it"""
    for ratio in args.ratios:
        room, pairs = session.weights / ratio, []
        for _ in session.rounds([None]):
            pairs.append([session.generate(share * room, args.n, limit=room) for share in (1.25, 0.95)])
        times = median(over.speed / right.speed for over, right in pairs if over.result and right.result)
        runs = [run for pair in pairs for run in pair]
        kills = sum(seen(runs, "oom_kills"))
        report.row(**{
            "S/L": ratio,
            "L MiB": show(room / MIB, "{:.0f}"),
            "1.25 L tok/s": show(median(over.speed for over, _ in pairs), "{:.3f}"),
            "0.95 L tok/s": show(median(right.speed for _, right in pairs), "{:.3f}"),
            "ratio": show(times),
            "oom kills": kills,
            "trouble 1.25": troubles(over for over, _ in pairs),
            "trouble 0.95": troubles(right for _, right in pairs),
        })
        good = times is not None and times >= OVERCOMMIT_GOAL
        report.figure("budget above the group, times a right one", show(times), f">= {OVERCOMMIT_GOAL}", good, ratio)
        report.figure("budget above the group, killed", str(kills), "0", kills == 0, ratio)


# -- same ---------------------------------------------------------------------------------------------------------------


def same(session, args, report):
    """greedy text, tokens and log-probabilities, bit for bit those of a budget in which everything fits"""
    full, half = 2 * session.weights + session.plan["minimum_budget_bytes"], session.weights / 2
    half = max(half, session.plan["minimum_budget_bytes"])
    cases = [(f"budget {share:g} S", share * session.weights, {}) for share in (0.75, 0.5, 0.25)]
    cases += [("smallest budget", session.plan["minimum_budget_bytes"], {})]
    cases += [(f"--io {way}", half, {"io": way}) for way in ("direct", "buffered", "mmap", "uring", "pread")]
    cases += [("--cache-policy lru", half, {"cache_policy": "lru"})]
    cases += [(f"--threads {n}", half, {"threads": n}) for n in (1, 2)]
    reference = session.generate(full, args.n, cold=False, logprobs=args.logprobs)
    if reference.trouble:
        raise SystemExit(f"the run that the others are compared with failed: {reference.trouble}")
    n_same, n_compared = 0, 0
    for name, budget, flags in cases:
        said = same_as(session, args, reference, budget, flags)
        n_compared += not said.startswith("skipped")
        n_same += said == "same"
        report.row(case=name, **{"budget MiB": show(budget / MIB, "{:.0f}"), "result": said})
    good = n_same == n_compared
    report.figure("same text and log-probabilities, cases", f"{n_same} of {n_compared}", "all", good)


def same_as(session, args, reference, budget, flags):
    """One word or more on how a case compares: `same`, `skipped: ...` or what is wrong."""
    if budget < session.plan["minimum_budget_bytes"]:
        return "skipped: below the smallest budget"
    run = session.generate(budget, args.n, cold=False, logprobs=args.logprobs, **flags)
    # A value or a flag that this version does not have ends with a usage error.
    if run.trouble and run.trouble.startswith("status 2:"):
        return "skipped: this ssd-llm does not know it"
    if run.trouble:
        return run.trouble
    differing = [name for name in ("tokens", "text", "logprobs") if run.result[name] != reference.result[name]]
    return f"differs in {', '.join(differing)}" if differing else "same"


# -- command line -------------------------------------------------------------------------------------------------------

RATIOS = [1.25, 1.5, 2.0, 4.0]

# Each command's function and what its options are if the command line does not say.
COMMANDS = {
    "limit": (limit, {"n": 24, "rounds": 3, "ctx": 512, "ratios": RATIOS}),
    "versus": (versus, {"n": 6, "rounds": 3, "ctx": 512, "ratios": RATIOS}),
    "prefill": (prefill, {"n": 2, "rounds": 3, "ctx": 1024, "ratios": RATIOS}),
    "first-token": (first_token, {"n": 1, "rounds": 3, "ctx": 512, "ratios": [1.0]}),
    "spread": (spread, {"n": 24, "rounds": 7, "ctx": 512, "ratios": [2.0]}),
    "plan": (plan, {"n": 24, "rounds": 3, "ctx": 512, "ratios": RATIOS}),
    "overcommit": (overcommit, {"n": 24, "rounds": 3, "ctx": 512, "ratios": [2.0]}),
    "same": (same, {"n": 16, "rounds": 1, "ctx": 512, "ratios": [1.0]}),
}


def ratios(text):
    return [float(part) for part in text.split(",")]


def parse():
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(required=True, metavar="COMMAND", dest="name")
    cpus = len(os.sched_getaffinity(0))
    for name in [*COMMANDS, "all", "peer-decode"]:
        whole = "all of these in this order; options go to every one"
        what = COMMANDS[name][0].__doc__ if name in COMMANDS else whole if name == "all" else None
        # Without a help text the command is not listed: it is what `versus` starts.
        sub = commands.add_parser(name, **({"help": what, "description": what} if what else {}))
        sub.add_argument("file", help="the model, GGUF")
        sub.add_argument("-n", type=int, help="tokens to generate (versus: to decode after the first)")
        sub.add_argument("--ctx", type=int, help="tokens of context")
        sub.add_argument("--threads", type=int, default=cpus, help="of both programs")
        if name == "peer-decode":
            sub.add_argument("--seconds", type=float)
        else:
            add_options(sub)
            add_goal(sub, name)
    return top.parse_args()


def add_options(sub):
    sub.add_argument("--ratios", "--ratio", type=ratios, help="S/B, or S/L for overcommit, such as 1.25,1.5,2,4")
    sub.add_argument("--rounds", type=int, help="times that everything is measured, in turn")
    sub.add_argument("--max-read-rate", metavar="SIZE", help="bytes a second that ssd-llm may read; D is then at most that")
    sub.add_argument("--io", help="how ssd-llm reads")
    sub.add_argument("--logprobs", type=int, default=5, help="same: rivals of each token that are compared")
    sub.add_argument("--request-bytes", type=int, help="size of the reads that measure D; by default those of `plan`")
    sub.add_argument("--depth", type=int, help="how many of them are under way; by default as `plan` finds best")
    sub.add_argument("--disk-seconds", type=float, default=2.0, help="how long each measurement of D takes")
    sub.add_argument("--timeout", type=float, default=900.0, help="seconds after which a run is given up")
    sub.add_argument("--out", metavar="FILE", help="write everything as JSON: tables, machine, versions, each run")
    sub.add_argument("--markdown", metavar="FILE", help="write the figures as a Markdown table")


def add_goal(sub, name):
    """Where nothing is promised by itself, a goal can be given."""
    goals = {"limit": "least percent of the limit", "first-token": "most times file/D", "spread": "most percent of spread"}
    sub.set_defaults(goal=None)
    if name in goals:
        sub.add_argument("--goal", type=float, help=goals[name])


def measure(name, args):
    """One command's report; options that the command line left open take the command's own."""
    function, defaults = COMMANDS[name]
    given = {key: value for key, value in vars(args).items() if value is not None}
    args = argparse.Namespace(**(vars(args) | defaults | given))
    if name == "versus":
        # llama.cpp cannot be told to keep a pace.
        args.max_read_rate = None
    report = Report(name, function.__doc__)
    function(Session(args, report), args, report)
    report.print()
    return report


def main():
    args = parse()
    if args.name == "peer-decode":
        peer_decode(args)
        return
    if args.name != "same":
        machine.need_root()
    # Groups are removed on the way out, also if this is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    about = machine.describe(args.file) | {"cgroup_version": machine.memory_hierarchy()[0], "ssd_llm": ours.version()}
    print(json.dumps(about))
    reports = []
    for name in COMMANDS if args.name == "all" else [args.name]:
        reports.append(measure(name, args))
        if args.out:
            write_json(args.out, about, sys.argv, reports)
    if args.name == "all":
        print("\n" + markdown(reports), end="")
    if args.markdown:
        with open(args.markdown, "w", encoding="utf-8") as file:
            file.write(markdown(reports))
    sys.exit(0 if all(report.good for report in reports) else 1)


if __name__ == "__main__":
    main()
