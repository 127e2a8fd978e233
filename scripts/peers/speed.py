"""ssd-llm and llama.cpp in turn on the same file, threads and prompts: rates, ratios, and a record of them.

Each measurement is a separate process: `ssd-llm bench --warm`, and peer_speed.py with llama.cpp's two settings, weights
repacked when they are loaded or left as the file has them. A round measures every case with all three before the next case.
The better setting of a figure is the one with the higher median, and the ratio is the median of the rounds' ratios to it.

`add_command` puts it behind `compare.py speed`. Nothing here needs llama-cpp-python or numpy to be imported.
"""

import dataclasses
import datetime
import json
import os
import pathlib
import subprocess
import sys

import machine
import ours
from report import median

# Tokens of the prompt that are taken in before anything is timed; ssd-llm's --warm takes as many.
WARM_UP = 512
# Prompt and passes of the batches: decoding is what counts there.
BATCH_PROMPT = 32
BATCH_DECODE = 32
# More than any machine has: all that is available.
ALL_MEMORY = "1024G"

OURS, REPACKED, AS_FILE = "ssd-llm", "llama.cpp, repacked", "llama.cpp, as the file is"
PROGRAMS = [OURS, REPACKED, AS_FILE]


def prompts(n, n_vocab, n_sequences):
    """The tokens that `ssd-llm bench` uses: spread over the vocabulary, each sequence beginning one further on."""
    one = [((i * 2654435761 % 2**32) * n_vocab) >> 32 for i in range(1, n + 1)]
    return [one[i % n :] + one[: i % n] for i in range(n_sequences)]


# -- what is measured ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Case:
    """One measurement: so many sequences, each with a prompt and then so many tokens."""

    prompt: int
    decode: int
    batch: int = 1
    flash: bool = False
    # Names of what it tells, by the rate of the two that it is.
    figures: tuple = ()

    def ours(self, file, threads):
        shape = ["--prompt-tokens", self.prompt, "-n", self.decode, "--ctx", self.prompt + self.decode, "--batch", self.batch]
        return ["bench", file, "--warm", "--memory-budget", ALL_MEMORY, "--threads", threads, *shape]

    def theirs(self, file, threads, as_file):
        shape = ["--prompt-tokens", self.prompt, "--decode", self.decode, "--batch", self.batch]
        flags = ["--flash"] * self.flash + ["--no-repack"] * as_file
        return [file, "--threads", threads, *shape, *flags]


def cases(args, trained):
    """The cases that were asked for, as far as a model made for `trained` tokens of context goes."""
    found = []
    if args.prompt_tokens:
        prompt = min(args.prompt_tokens, trained - args.decode)
        figures = (("prefill", f"prefill of {prompt} tokens"), ("decode", "decode after them"))
        found.append(Case(prompt, args.decode, figures=figures))
    for batch in args.batch:
        figures = (("decode", f"decode of {batch} in one pass, all"),)
        found.append(Case(BATCH_PROMPT, BATCH_DECODE, batch, figures=figures))
    if args.ctx_at:
        prompt = min(args.ctx_at, trained - args.decode)
        figures = (
            ("prefill", f"prefill of {prompt} tokens, flash attention"),
            ("decode", f"decode after {prompt} tokens, flash attention"),
        )
        found.append(Case(prompt, args.decode, flash=True, figures=figures))
    return found


def measure(program, case, file, threads):
    """Tokens a second of prefill and decode, and for llama.cpp what it was built for."""
    if program == OURS:
        result = ours.call(*case.ours(file, threads))
        if result["bytes_per_token"] > os.path.getsize(file) / 100:
            raise SystemExit(f"{file} does not fit this machine's memory: use `just streaming versus` for such models")
        return {phase: result[phase]["tokens_per_second"] for phase in ["prefill", "decode"]}
    script = pathlib.Path(__file__).with_name("peer_speed.py")
    command = [sys.executable, str(script), *map(str, case.theirs(file, threads, program == AS_FILE))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


# -- what follows from it -----------------------------------------------------------------------------------------------


def summary(rates):
    """Medians by program, the better of llama.cpp's settings, and the ratios to it: their median, least and most.

    `rates` are tokens a second by program, a list of rounds each.
    """
    medians = {program: median(rates[program]) for program in PROGRAMS}
    better = max([REPACKED, AS_FILE], key=medians.get)
    ratios = [mine / theirs for mine, theirs in zip(rates[OURS], rates[better])]
    return medians, better, (median(ratios), min(ratios), max(ratios))


def rate(value):
    return f"{value:.1f}" if value >= 100 else f"{value:.2f}"


def table(figures):
    """A Markdown table of the figures, by name, each with its rates as `summary` takes them."""
    lines = [["tokens/s", *PROGRAMS, "ratio to the better (least to most)"], ["---"] * 5]
    for name, rates in figures.items():
        medians, better, (middle, least, most) = summary(rates)
        shown = [rate(medians[p]) if p != better else f"**{rate(medians[p])}**" for p in PROGRAMS]
        lines.append([name, *shown, f"{middle:.2f} ({least:.2f} to {most:.2f})"])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def record(about, figures):
    """The text of a record. `about` says on what, with what and how it was measured."""
    commands = "".join(f"    {command}\n" for command in about["commands"])
    return f"""# {about["name"]} against llama.cpp, {about["date"]}

Machine: {about["cpu"]}, {about["cpus"]} cores, {about["memory_bytes"] / 2**30:.0f} GiB, Linux {about["kernel"].partition("-")[0]}.
File: {about["name"]}, {about["file_bytes"]:,} bytes. Threads: {about["threads"]}. Rounds: {about["rounds"]}, programs in turn, medians.
Ours: {about["ssd_llm"]}, commit {about["commit"]}. Theirs: llama-cpp-python {about["llama_cpp_python"]},
built for {about["system"]}

{table(figures)}
Every measurement is a separate process that has already prefilled up to {WARM_UP} tokens. The better of llama.cpp's two settings is
bold; the ratio is the median of the rounds' ratios to it.

{commands}"""


def commit():
    """The commit that was built, and whether files differ from it."""
    git = ["git", "-C", str(ours.TOP)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + (" with changes" if changed.stdout.strip() else "")


# -- command line -------------------------------------------------------------------------------------------------------


def compare(args, file):
    """Measures one file, prints its table and writes its record."""
    name = os.path.basename(file).removesuffix(".gguf")
    wanted = cases(args, ours.call("info", file)["context_length"])
    figures = {label: {program: [] for program in PROGRAMS} for case in wanted for _, label in case.figures}
    system = ""
    for i in range(args.rounds):
        for case in wanted:
            for program in PROGRAMS:
                measured = measure(program, case, file, args.threads)
                system = measured.get("system", system).strip(" |")
                for phase, label in case.figures:
                    figures[label][program].append(measured[phase])
            shown = [f"{label} " + " : ".join(rate(figures[label][p][-1]) for p in PROGRAMS) for _, label in case.figures]
            print(f"{name}, round {i + 1}: {', '.join(shown)}", flush=True)
    base = os.path.basename(file)
    options = f"--threads {args.threads} --rounds {args.rounds} --prompt-tokens {args.prompt_tokens} --decode {args.decode}"
    options += f" --batch {','.join(map(str, args.batch))} --ctx-at {args.ctx_at}"
    commands = [f"cargo xtask compare {base} {options}"]
    for case in wanted:
        commands.append(" ".join(map(str, ["ssd-llm", *case.ours(base, args.threads), "--json"])))
        commands.append(" ".join(map(str, ["peer_speed.py", *case.theirs(base, args.threads, False), "[--no-repack]"])))
    about = machine.describe(file) | {"name": base, "file_bytes": os.path.getsize(file), "commands": commands}
    about |= {"threads": args.threads, "rounds": args.rounds, "ssd_llm": ours.version(), "commit": commit()}
    about |= {"date": datetime.date.today().isoformat(), "system": system}
    path = pathlib.Path(args.record) / f"{about['date']}-compare-{name}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(record(about, figures), encoding="utf-8")
    print(f"\n{table(figures)}\n{path}", flush=True)


def speed(args):
    """prefill and decode, alternating; writes a record for each file"""
    for file in args.files:
        compare(args, file)
    return True


def add_command(commands):
    """Adds `speed` to a command line."""
    sub = commands.add_parser("speed", help=speed.__doc__, description=speed.__doc__)
    sub.set_defaults(function=speed)
    sub.add_argument("files", nargs="+", metavar="FILE")
    sub.add_argument("--threads", type=int, default=os.cpu_count())
    sub.add_argument("--rounds", type=int, default=5)
    sub.add_argument("--prompt-tokens", type=int, default=512, help="0 leaves out the prompt and the decode after it")
    sub.add_argument("--decode", type=int, default=64, help="tokens to decode after a prompt")
    sub.add_argument("--batch", type=sizes, default=[1, 4, 8, 16], metavar="N,N", help="sizes of batches; empty for none")
    sub.add_argument("--ctx-at", type=int, default=8192, metavar="N", help="tokens of the long context; 0 leaves it out")
    sub.add_argument("--record", default=str(ours.TOP / "benches/record"), metavar="FOLDER")


def sizes(text):
    return [int(size) for size in text.split(",") if size]
