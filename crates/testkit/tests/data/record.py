"""Records what the tests of testkit are held against, from programs that testkit shares nothing with.

Usage: python record.py PATH_OF_THE_EXAMPLE_write_tiny

Writes blocks.txt (random blocks and their weights as the Python package gguf decodes them: the type, the bytes in hex,
then each weight's f32 bits in hex) and logits.txt (the settings of write_tiny, the tokens, then the first logits of the
last token as llama.cpp computes them with an f32 KV cache). Needs numpy, gguf and llama-cpp-python.
"""

import os
import subprocess
import sys
import tempfile

import gguf
import llama_cpp
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
# Where the half-precision numbers of a block stand; all other bytes are random.
HALVES = {
    "Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "F16": [0], "BF16": [],
}
FACTORS = "rope_factors=1,1,1.5,2,3,5,8,8"
MODELS = [
    ["llama"],
    ["llama", "output=tied", FACTORS],
    ["llama", "qkv_biases=yes", "rope_scale=2.5", "kv_heads=1", "layers=3"],
    ["llama", "head_dim=32", "rope_dim=32", "eps=0.01", "rope_base=500000", "kv_heads=4"],
    ["qwen2"],
    ["qwen2", "output=separate", "seed=5", "kv_heads=1", "rope_scale=3"],
]
TOKENS = [5, 17, 256, 80, 81, 82, 3, 294, 120, 44, 9, 200, 201, 7, 7, 7, 250, 33, 91, 64]
N_LOGITS = 48


def record_blocks():
    rng = np.random.default_rng(1)
    with open(os.path.join(HERE, "blocks.txt"), "w") as out:
        for name, halves in HALVES.items():
            quant = gguf.GGMLQuantizationType[name]
            _, n_bytes = gguf.GGML_QUANT_SIZES[quant]
            for _ in range(8 if n_bytes == 2 else 2):
                block = rng.integers(0, 256, n_bytes, dtype=np.uint8)
                if name == "BF16":
                    block = (rng.normal(size=1).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
                for at in halves:
                    block[at : at + 2] = (rng.normal(size=1) * 0.02).astype(np.float16).view(np.uint8)
                weights = gguf.dequantize(block, quant).astype(np.float32).view(np.uint32)
                print(name, block.tobytes().hex(), *(f"{w:08x}" for w in weights), file=out)


def peer_logits(path):
    model_params = llama_cpp.llama_model_default_params()
    model_params.n_gpu_layers = 0
    model = llama_cpp.llama_model_load_from_file(path.encode(), model_params)
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = 256
    params.type_k = params.type_v = 0
    params.flash_attn_type = 0
    context = llama_cpp.llama_init_from_model(model, params)
    batch = llama_cpp.llama_batch_init(len(TOKENS), 0, 1)
    batch.n_tokens = len(TOKENS)
    for i, token in enumerate(TOKENS):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = token, i, 1, 0
        batch.logits[i] = i == len(TOKENS) - 1
    assert llama_cpp.llama_decode(context, batch) == 0
    return llama_cpp.llama_get_logits_ith(context, len(TOKENS) - 1)[:N_LOGITS]


def record_logits(write_tiny):
    with open(os.path.join(HERE, "logits.txt"), "w") as out, tempfile.TemporaryDirectory() as folder:
        for settings in MODELS:
            path = os.path.join(folder, "tiny.gguf")
            subprocess.run([write_tiny, path, *settings], check=True)
            logits = " ".join(f"{x:.6f}" for x in peer_logits(path))
            print(" ".join(settings), ",".join(map(str, TOKENS)), logits, sep="\t", file=out)


record_blocks()
record_logits(sys.argv[1])
