"""Records what llama.cpp makes of the texts below, for the tokenizer tests.

Usage: python record_tokens.py > vocabularies/recorded.jsonl

Needs the packages gguf and llama-cpp-python. Each line is a case: the vocabulary, the metadata that it is changed by
(`tokenizer.ggml.` goes before the keys), how the text is read, the text, and the ids.
"""

import json
import lzma
import pathlib
import tempfile

import llama_cpp
from gguf import GGUFReader, GGUFValueType, GGUFWriter

VOCABULARIES = pathlib.Path(__file__).parent / "vocabularies"

ODD = [
    "'S 'ſ 'LL 'll I'VE you'Re 'k",
    "  a\u00a0\u00a0b\u0085\u0085c\u2028 \u3000d\u200be\u001c\u001d f \t\t g\u000b\u000c",
    "1 12 123 1234 12345 ²³½ ٣٤٥٦ Ⅷ 1,000.00 $5+5=<10>^2~|x|`y`",
    "क्षत्रिय e\u0301\u0300e 한국어 ไทย 👩‍💻🇫🇷 \U000f0000\u0378 ﬁ Ǆ",
    " \n \r\n\r\n  x\n\n y  \n",
    "\u0000\u0001 ▁▁a ▁ b▁",
    "====----____ ...!!! <|im_end|> </s> <s> <0x0A> <unk> <|eot_id|>",
]
SPECIAL = [
    "<|im_start|>user\nHi<|im_end|>\n  <|im_start|>",
    "</s>  x  <|end|> \n y<|user|>z<s>  <unk> <|endoftext|>  a",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>",
    "<|endoftext|><|endoftext|> <|endoftext",
    "",
    " ",
]
BOTH_ENDS = {"add_bos_token": True, "add_eos_token": True}
CASES = [
    *((name, {}, False, False, text) for name in ["gpt-2", "llama-bpe", "llama-spm", "qwen2"] for text in ODD),
    *((name, {}, True, True, text) for name in ["gpt-2", "llama-bpe", "llama-spm", "phi-3", "qwen2"] for text in SPECIAL),
    *(("gpt-2", {"pre": "default"}, False, False, text) for text in ODD),
    *(("gpt-2", {"pre": "smollm"}, False, False, text) for text in ODD),
    *(("qwen2", {"pre": "qwen35"}, False, False, text) for text in ODD),
    *(("llama-bpe", {"pre": "dbrx"}, True, False, text) for text in ODD),
    *(("llama-spm", {"add_space_prefix": False, **BOTH_ENDS}, True, True, text) for text in ODD),
    ("gpt-2", BOTH_ENDS, True, False, "both ends"),
]


def changed(source: pathlib.Path, path: str, changes: dict) -> None:
    """Copies the metadata of `source` to `path`, with `changes`."""
    reader = GGUFReader(source)
    writer = GGUFWriter(path, reader.fields["general.architecture"].contents())
    changes = {f"tokenizer.ggml.{key}": value for key, value in changes.items()}
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture" or key in changes:
            continue
        array = field.types[0] == GGUFValueType.ARRAY
        writer.add_key_value(key, field.contents(), field.types[0], field.types[-1] if array else None)
    for key, value in changes.items():
        writer.add_key_value(key, value, GGUFValueType.get_type(value))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def load(folder: str, name: str, changes: dict) -> llama_cpp.Llama:
    source, path = pathlib.Path(folder, "source.gguf"), f"{folder}/changed.gguf"
    source.write_bytes(lzma.decompress((VOCABULARIES / f"{name}.gguf.xz").read_bytes()))
    changed(source, path, changes)
    return llama_cpp.Llama(path, vocab_only=True, verbose=False)


def main() -> None:
    loaded = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, changes, add_special, parse_special, text in CASES:
            key = (name, json.dumps(changes))
            if key not in loaded:
                loaded[key] = load(folder, name, changes)
            ids = loaded[key].tokenize(text.encode(), add_special, parse_special)
            case = {"vocabulary": name, "changes": changes, "add_special": add_special}
            print(json.dumps({**case, "parse_special": parse_special, "text": text, "ids": ids}))


if __name__ == "__main__":
    main()
