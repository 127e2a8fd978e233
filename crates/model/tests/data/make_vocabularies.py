"""Packs llama.cpp's vocabulary files for the tokenizer tests.

Usage: python make_vocabularies.py PATH/TO/llama.cpp/models

Each `ggml-vocab-NAME.gguf` (a header with the tokenizer's metadata, no tensors) becomes `vocabularies/NAME.gguf.xz`
next to this script; the ids that its texts must become are copied as `NAME.out`, the texts, which are the same for all
vocabularies, as `texts.inp`. A text ends at a line `__ggml_vocab_test__`; a line of ids belongs to each. Source:
llama.cpp, MIT licence.
"""

import lzma
import pathlib
import shutil
import sys

NAMES = ["gpt-2", "llama-bpe", "llama-spm", "phi-3", "qwen2"]


def main() -> None:
    models = pathlib.Path(sys.argv[1])
    out = pathlib.Path(__file__).parent / "vocabularies"
    out.mkdir(exist_ok=True)
    for name in NAMES:
        source = models / f"ggml-vocab-{name}.gguf"
        packed = lzma.compress(source.read_bytes(), preset=9 | lzma.PRESET_EXTREME, check=lzma.CHECK_CRC32)
        (out / f"{name}.gguf.xz").write_bytes(packed)
        shutil.copyfile(f"{source}.out", out / f"{name}.out")
        shutil.copyfile(f"{source}.inp", out / "texts.inp")


if __name__ == "__main__":
    main()
