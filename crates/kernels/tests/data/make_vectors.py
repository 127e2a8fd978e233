"""Records how the Python package `gguf` dequantises random blocks: the oracle of tests/recorded_blocks.rs.

Writes one file per format beside this script: all blocks, then all weights as little-endian f32. Block bytes are random
but for the half-precision scales, which are finite and take in the extremes. Needs numpy and gguf (0.19 made the files).
"""

import pathlib

import gguf
import numpy as np

N_BLOCKS = 6
# Byte offsets of the half-precision scales in a block.
SCALES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0],
}
EXTREMES = np.array([0x0000, 0x8000, 0x0001, 0x03FF, 0x7BFF, 0xFBFF], dtype="<u2")


def blocks_of(name, rng):
    _, n_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    if name in ("F32", "F16", "BF16"):
        values = rng.normal(size=64).astype("<f4")
        if name == "BF16":
            return (values.view("<u4") >> 16).astype("<u2").view(np.uint8)
        return values.astype({"F32": "<f4", "F16": "<f2"}[name]).view(np.uint8)
    blocks = rng.integers(0, 256, size=(N_BLOCKS, n_bytes), dtype=np.uint8)
    for at in SCALES[name]:
        scales = rng.normal(scale=0.05, size=N_BLOCKS).astype("<f2").view("<u2")
        scales[:2] = rng.choice(EXTREMES, size=2)
        blocks[:, at : at + 2] = scales.view(np.uint8).reshape(N_BLOCKS, 2)
    return blocks.reshape(-1)


def main():
    here = pathlib.Path(__file__).parent
    rng = np.random.default_rng(20240607)
    for name in ["F32", "F16", "BF16", *SCALES]:
        blocks = blocks_of(name, rng)
        weights = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[name])
        assert np.isfinite(weights).all(), name
        (here / f"{name.lower()}.bin").write_bytes(blocks.tobytes() + weights.astype("<f4").tobytes())


main()
