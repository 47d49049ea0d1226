"""llama.cpp through its C interface (include/llama.h), as llama-cpp-python binds it."""

import ctypes
import sys
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np

from scripts.backends.model import Logits, Tokens, check_finite
from scripts.errors import QuantmakeError

_WARNING, _CONTINUED = 3, 5  # GGML_LOG_LEVEL_WARN and _CONT of ggml.h


class _Warnings:
    """Writes what llama.cpp warns of. What continues a line is of that line's level: the dots by
    which it shows how far it has loaded a file are of none."""

    def __init__(self) -> None:
        self._level = 0

    def __call__(self, level: int, text: bytes, _: Any) -> None:
        if level != _CONTINUED:
            self._level = level
        if self._level >= _WARNING:
            sys.stderr.write(text.decode(errors="replace"))


_LOG = llama_cpp.llama_log_callback(_Warnings())


class LlamaModel:
    """A GGUF file."""

    def __init__(self, path: Path, threads: int, context: int, *, lean: bool = False) -> None:
        llama_cpp.llama_log_set(_LOG, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self._path = path
        self._model = llama_cpp.llama_model_load_from_file(
            str(path).encode(), llama_cpp.llama_model_default_params()
        )
        if not self._model:
            raise QuantmakeError("llama.cpp can't read the file")
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx = context
        settings.n_batch = context
        settings.n_threads = settings.n_threads_batch = threads
        settings.no_perf = True
        self._context = llama_cpp.llama_init_from_model(self._model, settings)
        if not self._context:
            raise QuantmakeError("llama.cpp can't make a context for it")
        vocabulary = llama_cpp.llama_model_get_vocab(self._model)
        self._width = llama_cpp.llama_vocab_n_tokens(vocabulary)
        self._batch = llama_cpp.llama_batch_init(context, 0, 1)
        self._length = 0

    def __del__(self) -> None:
        for name, free in (
            ("_batch", llama_cpp.llama_batch_free),
            ("_context", llama_cpp.llama_free),
            ("_model", llama_cpp.llama_model_free),
        ):
            if getattr(self, name, None):
                free(getattr(self, name))

    def scores(self, tokens: Tokens, first: int) -> Logits:
        """As `Model.scores`."""
        self._forget()
        return self._run(tokens, first)

    def prefill(self, tokens: Tokens) -> Logits:
        """As `Model.prefill`."""
        self._forget()
        return self._last(tokens)

    def decode(self, token: int) -> Logits:
        """As `Model.decode`."""
        return self._last(np.array([token], np.int64))

    def extend(self, tokens: Tokens, *, anew: bool = False) -> Logits:
        """As `Model.extend`."""
        if anew:
            self._forget()
        return self._run(tokens, 0)

    def _last(self, tokens: Tokens) -> Logits:
        last: Logits = self._run(tokens, len(tokens) - 1)[-1]
        return last

    def _forget(self) -> None:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)
        self._length = 0

    def _run(self, tokens: Tokens, first: int) -> Logits:
        """Logits [n - first, vocabulary]; the cache grows by n."""
        batch = self._batch
        batch.n_tokens = len(tokens)
        for place, token in enumerate(tokens.tolist()):
            batch.token[place] = token
            batch.pos[place] = self._length + place
            batch.n_seq_id[place] = 1
            batch.seq_id[place][0] = 0
            batch.logits[place] = place >= first
        code = llama_cpp.llama_decode(self._context, batch)
        if code != 0:
            raise QuantmakeError(
                f"{self._path}: llama_decode failed (code {code}) after {self._length} tokens"
            )
        self._length += len(tokens)
        rows = llama_cpp.llama_get_logits(self._context)
        logits = np.ctypeslib.as_array(rows, shape=(len(tokens) - first, self._width)).copy()
        return check_finite(logits, self._path)
