#!/usr/bin/env python3
"""Compares ssd-llm with llama.cpp (llama-cpp-python) on the same file, the same text and the same number of threads.

    compare.py perplexity FILE TEXT       perplexity as llama-perplexity scores it, both programs
    compare.py greedy     FILE PROMPTS    greedy tokens up to the first step where llama.cpp itself is undecided
    compare.py speed      FILE...         prefill and decode, alternating; writes a record (cargo xtask compare builds first)
    compare.py requantise FILE OUTDIR     the file in every type that ssd-llm reads, made by llama.cpp
    compare.py kl         FILE F32 TEXT   how far each program is from the exact dequantised model
    compare.py logits     FILE TEXT       every logit of every scored token, for models with a small vocabulary

Needs numpy and llama-cpp-python, and the release binary of ssd-llm. Not part of the tests: it checks the program against a
moving peer, and its figures go to docs/figures.md. Each comparison ends with status 1 when its goal is missed.
"""

import argparse
import os
import sys

import ours
import speed

try:
    import numpy as np

    import peer as peers
except ModuleNotFoundError as error:
    raise SystemExit(f"{error}: {sys.executable} -m pip install numpy llama-cpp-python, or another Python") from error


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def verdict(good, text):
    print(f"{'ok  ' if good else 'MISS'} {text}")
    return good


# -- perplexity ---------------------------------------------------------------------------------------------------------


def perplexity(args):
    mine = ours.perplexity(args.file, args.text, args.ctx, args.threads)
    peer = peers.Peer(args.file, args.ctx, args.threads)
    nll, n_scored = 0.0, 0
    for tokens, logprobs in peers.scored_rows(peer, read(args.text), args.ctx):
        nll -= logprobs[np.arange(len(tokens)), tokens].sum()
        n_scored += len(tokens)
    theirs = float(np.exp(nll / n_scored))
    off = mine["perplexity"] / theirs - 1
    print(f"ssd-llm   {mine['perplexity']:.5f} over {mine['n_scored']} tokens")
    print(f"llama.cpp {theirs:.5f} over {n_scored} tokens")
    same = verdict(mine["n_scored"] == n_scored, "the same number of tokens scored")
    return verdict(abs(off) <= args.bound / 100, f"perplexity {off * 100:+.3f}% (bound {args.bound}%)") and same


# -- greedy -------------------------------------------------------------------------------------------------------------


def greedy_peer(peer, prompt, n):
    """Greedy tokens of llama.cpp, and at each step how far its best logit is above its second."""
    tokens = peer.tokenize(prompt)
    peer.clear()
    row = peer.logits(tokens, 0, all_rows=False)[0]
    chosen, gaps = [], []
    for i in range(n):
        second, best = np.partition(row, -2)[-2:]
        token = int(row.argmax())
        gaps.append(float(best - second))
        if peer.is_end(token):
            break
        chosen.append(token)
        row = peer.logits([token], len(tokens) + i, all_rows=False)[0]
    return len(tokens), chosen, gaps


def shared_prefix(a, b):
    pairs = zip(a, b)
    return next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))


def greedy(args):
    peer = peers.Peer(args.file, 2048, args.threads)
    prompts = [line for line in read(args.prompts).splitlines() if line]
    good, compared, same_steps = True, 0, 0
    for prompt in prompts:
        n_prompt, theirs, gaps = greedy_peer(peer, prompt, args.n)
        mine = ours.generate(args.file, prompt, args.n, args.threads)
        sure = next((i for i, gap in enumerate(gaps) if gap < args.gap), len(gaps))
        equal = shared_prefix(mine["tokens"], theirs)
        same_prompt = mine["prompt_tokens"] == n_prompt
        # Past the last token of llama.cpp stands its end of text: a step as well, on which both must agree.
        fine = same_prompt and (equal >= sure or (equal == len(theirs) == len(mine["tokens"])))
        compared += sure
        same_steps += equal
        detail = f"equal for {equal} of {len(theirs)} steps, certain for {sure}: {prompt[:40]!r}"
        if not same_prompt:
            detail += f" (prompt of {mine['prompt_tokens']} tokens here, {n_prompt} there)"
        good &= verdict(fine, detail)
    print(f"{len(prompts)} prompts, {compared} certain steps compared, {same_steps} steps equal in all")
    return good


# -- requantise ---------------------------------------------------------------------------------------------------------


def requantise(args):
    os.makedirs(args.outdir, exist_ok=True)
    stem = os.path.basename(args.file).removesuffix(".gguf")
    good = True
    for recipe in args.types or peers.RECIPES:
        target = os.path.join(args.outdir, f"{stem}.{recipe}.gguf")
        if not os.path.exists(target):
            good &= peers.requantise(args.file, target + ".part", recipe, args.threads)
            os.replace(target + ".part", target)
        print(target)
    return good


# -- kl -----------------------------------------------------------------------------------------------------------------


def coarse(logprobs, ids):
    """The probabilities of `ids`, and of everything else together as the last entry."""
    listed = np.exp(logprobs)
    return np.append(listed, max(1.0 - listed.sum(), 1e-12)), ids


def kl_of_parts(p, q):
    return float(np.sum(p * (np.log(np.maximum(p, 1e-300)) - np.log(np.maximum(q, 1e-300)))))


def kl(args):
    """Mean KL(exact || program) over the scored tokens.

    ssd-llm prints its top N per token only. So the vocabulary is cut into the tokens of that list and one part for all the
    rest, for both programs alike: a lower bound of the KL over the whole vocabulary, which is printed for llama.cpp beside
    its own lower bound to show how near the two are.
    """
    mine = ours.perplexity(args.file, args.text, args.ctx, args.threads, top=args.top)["logprobs"]
    peer = peers.Peer(args.file, args.ctx, args.threads)
    exact = peers.Peer(args.f32, args.ctx, args.threads, kv_type="f32")
    text = read(args.text)
    ours_kl, theirs_kl, whole_kl, at = [], [], [], 0
    for (tokens, true), (_, theirs) in zip(peers.scored_rows(exact, text, args.ctx), peers.scored_rows(peer, text, args.ctx)):
        for token, p, q in zip(tokens, true, theirs):
            scored = mine[at]
            at += 1
            if scored["id"] != token:
                raise SystemExit(f"scored token {at} is {scored['id']} here, {token} there")
            ids = np.array([entry["id"] for entry in scored["top"]])
            own = np.array([entry["logprob"] for entry in scored["top"]])
            reference, _ = coarse(p[ids], ids)
            ours_kl.append(kl_of_parts(reference, coarse(own, ids)[0]))
            theirs_kl.append(kl_of_parts(reference, coarse(q[ids], ids)[0]))
            whole_kl.append(float(np.sum(np.exp(p) * (p - q))))
    if at != len(mine):
        raise SystemExit(f"{len(mine)} tokens scored here, {at} there")
    a, b = np.mean(ours_kl), np.mean(theirs_kl)
    print(f"tokens {at}, top {args.top} and the rest as one part")
    print(f"ssd-llm   {a:.6f}")
    print(f"llama.cpp {b:.6f} ({np.mean(whole_kl):.6f} over the whole vocabulary)")
    return verdict(a <= b * args.bound, f"{a / b:.2f} times llama.cpp's (bound {args.bound})")


# -- logits -------------------------------------------------------------------------------------------------------------


def logits(args):
    """Logits up to a constant per row, which softmax does not see: each row is centred before it is compared."""
    peer = peers.Peer(args.file, args.ctx, args.threads)
    mine = ours.perplexity(args.file, args.text, args.ctx, args.threads, top=peer.n_vocab)["logprobs"]
    worst, squares, at = 0.0, 0.0, 0
    for tokens, theirs in peers.scored_rows(peer, read(args.text), args.ctx):
        for token, row in zip(tokens, theirs):
            own = np.full(peer.n_vocab, np.nan)
            for entry in mine[at]["top"]:
                own[entry["id"]] = entry["logprob"]
            if mine[at]["id"] != token or np.isnan(own).any():
                raise SystemExit(f"scored token {at}: another token, or not every logprob printed")
            at += 1
            off = ((own - own.mean()) - (row - row.mean())) / (row.max() - row.min())
            worst = max(worst, float(np.abs(off).max()))
            squares += float(np.mean(off**2))
    usual = (squares / at) ** 0.5
    print(f"{at} rows of {peer.n_vocab}: root mean square {usual * 100:.4f}% of the spread")
    return verdict(worst * 100 <= args.bound, f"at most {worst * 100:.4f}% of the spread off (bound {args.bound}%)")


# -- command line -------------------------------------------------------------------------------------------------------


def parse():
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    prose = str(ours.TOP / "benches/data/prose.txt")
    prompts = str(ours.TOP / "benches/data/prompts.txt")

    def command(name, function, *positionals, bound=None):
        sub = commands.add_parser(name, help=function.__doc__ and function.__doc__.splitlines()[0])
        sub.set_defaults(function=function)
        for positional in positionals:
            default = {"text": prose, "prompts": prompts}.get(positional)
            sub.add_argument(positional, **({"nargs": "?", "default": default} if default else {}))
        sub.add_argument("--threads", type=int, default=os.cpu_count())
        sub.add_argument("--ctx", type=int, default=512)
        if bound is not None:
            sub.add_argument("--bound", type=float, default=bound)
        return sub

    command("perplexity", perplexity, "file", "text", bound=0.3)
    sub = command("greedy", greedy, "file", "prompts")
    sub.add_argument("-n", type=int, default=64)
    sub.add_argument("--gap", type=float, default=0.5, help="logits by which llama.cpp must prefer a token to be certain")
    speed.add_command(commands)
    sub = command("requantise", requantise, "file", "outdir")
    sub.add_argument("--types", nargs="*", choices=list(peers.RECIPES))
    sub = command("kl", kl, "file", "f32", "text", bound=1.0)
    sub.add_argument("--top", type=int, default=256)
    command("logits", logits, "file", "text", bound=1.0)
    return top.parse_args()


def main():
    args = parse()
    sys.exit(0 if args.function(args) else 1)


if __name__ == "__main__":
    main()
