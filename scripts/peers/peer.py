"""llama.cpp through llama-cpp-python's low-level functions: tokens, logits, timings, requantisation.

Only what the comparisons need. Logits come as float32 arrays of [rows, vocabulary].
"""

import ctypes
import time

import llama_cpp as ll
import numpy as np

# What `requantise` makes: llama.cpp's own recipes, which mix types where llama.cpp does.
RECIPES = {
    "F32": ll.LLAMA_FTYPE_ALL_F32,
    "F16": ll.LLAMA_FTYPE_MOSTLY_F16,
    "BF16": ll.LLAMA_FTYPE_MOSTLY_BF16,
    "Q4_0": ll.LLAMA_FTYPE_MOSTLY_Q4_0,
    "Q4_1": ll.LLAMA_FTYPE_MOSTLY_Q4_1,
    "Q5_0": ll.LLAMA_FTYPE_MOSTLY_Q5_0,
    "Q5_1": ll.LLAMA_FTYPE_MOSTLY_Q5_1,
    "Q8_0": ll.LLAMA_FTYPE_MOSTLY_Q8_0,
    "Q4_K_M": ll.LLAMA_FTYPE_MOSTLY_Q4_K_M,
    "Q5_K_M": ll.LLAMA_FTYPE_MOSTLY_Q5_K_M,
    "Q6_K": ll.LLAMA_FTYPE_MOSTLY_Q6_K,
}

GGML_LOG_LEVEL_ERROR = 4
KV_TYPES = {"f16": ll.GGML_TYPE_F16, "f32": ll.GGML_TYPE_F32}


@ll.llama_log_callback
def _only_errors(level, text, _user_data):
    if level == GGML_LOG_LEVEL_ERROR:
        print(text.decode("utf-8", "replace"), end="", flush=True)


ll.llama_log_set(_only_errors, ctypes.c_void_p(0))
ll.llama_backend_init()


class Peer:
    """A model and a context of `n_ctx` tokens for each of `n_sequences`.

    `flash` turns flash attention on; without it llama.cpp decides. `as_file` leaves the weights in the mapped file, where the system can drop them and read them again. By default
    llama.cpp makes repacked copies of some, which the system cannot drop.
    """

    def __init__(self, path, n_ctx, threads, kv_type="f16", as_file=False, n_batch=None, n_sequences=1, flash=False):
        model_params = ll.llama_model_default_params()
        model_params.n_gpu_layers = 0
        if as_file:
            keep_as_file(model_params)
        self.model = ll.llama_model_load_from_file(path.encode(), model_params)
        if not self.model:
            raise SystemExit(f"llama.cpp cannot load {path}")
        params = ll.llama_context_default_params()
        params.n_ctx = n_ctx * n_sequences
        params.n_seq_max = n_sequences
        params.n_batch = n_batch or n_ctx
        params.n_ubatch = min(512, n_ctx)
        params.n_threads = params.n_threads_batch = threads
        params.type_k = params.type_v = KV_TYPES[kv_type]
        params.no_perf = True
        if flash and hasattr(params, "flash_attn_type"):
            params.flash_attn_type = ll.LLAMA_FLASH_ATTN_TYPE_ENABLED
        elif flash:
            params.flash_attn = True
        self.ctx = ll.llama_init_from_model(self.model, params)
        if not self.ctx:
            raise SystemExit(f"llama.cpp cannot make a context of {n_ctx} tokens")
        self.vocab = ll.llama_model_get_vocab(self.model)
        self.n_vocab = ll.llama_vocab_n_tokens(self.vocab)
        self.n_ctx = n_ctx

    def close(self):
        ll.llama_free(self.ctx)
        ll.llama_model_free(self.model)

    def add_bos(self):
        return ll.llama_vocab_get_add_bos(self.vocab)

    def bos(self):
        return ll.llama_vocab_bos(self.vocab)

    def is_end(self, token):
        return ll.llama_vocab_is_eog(self.vocab, token)

    def tokenize(self, text, add_special=True, parse_special=True):
        data = text.encode()
        room = len(data) + 8
        out = (ll.llama_token * room)()
        n = ll.llama_tokenize(self.vocab, data, len(data), out, room, add_special, parse_special)
        if n < 0:
            raise SystemExit("llama.cpp needs more room for the tokens than the text has bytes")
        return list(out[:n])

    def piece(self, token):
        room = ctypes.create_string_buffer(256)
        n = ll.llama_token_to_piece(self.vocab, token, room, len(room), 0, True)
        return room.raw[: max(n, 0)].decode("utf-8", "replace")

    def clear(self):
        ll.llama_memory_clear(ll.llama_get_memory(self.ctx), True)

    def logits(self, tokens, start=0, all_rows=True):
        """Runs `tokens` from position `start`; returns the logits of all of them or of the last."""
        n = len(tokens)
        rows = [(token, start + i, 0) for i, token in enumerate(tokens)]
        return self.run(rows, n if all_rows else 1)[0]

    def run(self, rows, n_logits):
        """Runs rows of token, position and sequence as one batch; returns the logits of the last ones, and its seconds."""
        n = len(rows)
        batch = ll.llama_batch_init(n, 0, 1)
        batch.n_tokens = n
        for i, (token, position, sequence) in enumerate(rows):
            batch.token[i] = token
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = i >= n - n_logits
        begin = time.perf_counter()
        status = ll.llama_decode(self.ctx, batch)
        ll.llama_synchronize(self.ctx)
        took = time.perf_counter() - begin
        ll.llama_batch_free(batch)
        if status != 0:
            raise SystemExit(f"llama_decode failed with status {status}")
        logits = np.ctypeslib.as_array(ll.llama_get_logits(self.ctx), shape=(n_logits, self.n_vocab)).copy()
        return logits, took

    def time_passes(self, prompts, n_decode):
        """Returns seconds for the prompts, a sequence each, and for `n_decode` passes with the best next token of each."""
        self.clear()
        prefill, decode, tokens = 0.0, 0.0, []
        for sequence, prompt in enumerate(prompts):
            logits, took = self.run([(token, i, sequence) for i, token in enumerate(prompt)], 1)
            prefill += took
            tokens.append(int(logits[0].argmax()))
        for position in range(len(prompts[0]), len(prompts[0]) + n_decode):
            rows = [(token, position, sequence) for sequence, token in enumerate(tokens)]
            logits, took = self.run(rows, len(rows))
            decode += took
            tokens = [int(token) for token in logits.argmax(axis=1)]
        return prefill, decode


def keep_as_file(model_params):
    """Asks for a memory map without repacking, by whichever name this version of the binding has for the map."""
    model_params.use_extra_bufts = False
    if hasattr(model_params, "load_mode"):
        model_params.load_mode = ll.LLAMA_LOAD_MODE_MMAP
    else:
        model_params.use_mmap = True


def log_softmax(logits):
    """Natural logarithms of the probabilities, in float64."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=-1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True))


def windows(peer, text, n_ctx):
    """The windows that llama-perplexity scores: whole ones only, their first token replaced by BOS if the model adds it."""
    tokens = peer.tokenize(text, parse_special=False)
    whole = [tokens[i : i + n_ctx] for i in range(0, len(tokens) - n_ctx + 1, n_ctx)]
    if peer.add_bos():
        whole = [[peer.bos()] + window[1:] for window in whole]
    return whole


def scored_rows(peer, text, n_ctx):
    """Yields per window the tokens that llama-perplexity scores and the log-probabilities [scored, vocabulary] before each.

    Of a window of 512, rows 256 to 510 predict tokens 257 to 511: 255 are scored.
    """
    for window in windows(peer, text, n_ctx):
        peer.clear()
        first = n_ctx // 2
        logits = peer.logits(window)[first : n_ctx - 1]
        yield window[first + 1 :], log_softmax(logits)


def requantise(source, target, recipe, threads):
    params = ll.llama_model_quantize_default_params()
    params.ftype = RECIPES[recipe]
    params.nthread = threads
    params.allow_requantize = True
    return ll.llama_model_quantize(source.encode(), target.encode(), params) == 0
