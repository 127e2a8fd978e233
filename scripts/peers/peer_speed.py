#!/usr/bin/env python3
"""One measurement of llama.cpp in a process of its own, for speed.py.

Takes in a beginning of the prompts once, so that weights and buffers are in memory, then times prompts and decode passes.
Prints tokens a second as a JSON object, and what llama.cpp says of the instructions it was built for.
"""

import argparse
import json

import llama_cpp as ll

import peer
import speed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    for option in ["--threads", "--prompt-tokens", "--decode", "--batch"]:
        parser.add_argument(option, type=int, required=True)
    parser.add_argument("--no-repack", action="store_true", help="leave the weights as the file has them")
    parser.add_argument("--flash", action="store_true", help="flash attention, whatever llama.cpp would choose")
    args = parser.parse_args()
    n_ctx = args.prompt_tokens + args.decode
    how = {"as_file": args.no_repack, "n_sequences": args.batch, "flash": args.flash}
    one = peer.Peer(args.file, n_ctx, args.threads, **how)
    prompts = speed.prompts(args.prompt_tokens, one.n_vocab, args.batch)
    one.time_passes([prompt[: speed.WARM_UP] for prompt in prompts], 1)
    prefill, decode = one.time_passes(prompts, args.decode)
    rates = {"prefill": args.batch * args.prompt_tokens / prefill, "decode": args.batch * args.decode / decode}
    print(json.dumps(rates | {"system": ll.llama_print_system_info().decode()}))


if __name__ == "__main__":
    main()
