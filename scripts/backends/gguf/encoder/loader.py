"""Encoders through llama.cpp's C interface (include/llama.h), which pools as the file says."""

import ctypes
from collections.abc import Iterator, Sequence
from pathlib import Path

import llama_cpp
import numpy as np

from scripts.backends.encoder import Floats, Sentence, unit
from scripts.backends.gguf.loader import LlamaModel
from scripts.errors import QuantmakeError

# llama.cpp's own default: sentences that are computed together attend to a square of all tokens,
# masked, so that large batches are slower than several small ones.
_TOGETHER = 512
_MOST_SENTENCES = 64


class LlamaEncoder(LlamaModel):
    """A GGUF file."""

    def __init__(self, path: Path, threads: int) -> None:
        self._threads, self._capacity = threads, 0
        super().__init__(path, threads, 8)
        self._embedding_width = llama_cpp.llama_model_n_embd(self._model)
        self._reserve(_TOGETHER)

    def _reserve(self, tokens: int) -> None:
        """A context for so many tokens at once."""
        llama_cpp.llama_free(self._context)
        llama_cpp.llama_batch_free(self._batch)
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx = settings.n_batch = settings.n_ubatch = tokens
        settings.n_seq_max = _MOST_SENTENCES
        settings.kv_unified = True
        settings.n_threads = settings.n_threads_batch = self._threads
        settings.embeddings, settings.no_perf = True, True
        self._context = llama_cpp.llama_init_from_model(self._model, settings)
        if not self._context:
            raise QuantmakeError("llama.cpp can't make a context for it")
        self._batch = llama_cpp.llama_batch_init(tokens, 0, 1)
        self._capacity = tokens

    def embed(self, sentences: Sequence[Sentence]) -> Floats:
        """As `Encoder.embed`."""
        longest = max(map(len, sentences))
        if longest > self._capacity:
            self._reserve(longest)
        rows = [row for some in self._groups(sentences) for row in self._embed(some)]
        return unit(np.stack(rows), self._path)

    def _groups(self, sentences: Sequence[Sentence]) -> Iterator[list[Sentence]]:
        """In order, as many as fit together."""
        group: list[Sentence] = []
        for one in sentences:
            full = sum(map(len, group)) + len(one) > self._capacity
            if full or len(group) == _MOST_SENTENCES:
                yield group
                group = []
            group.append(one)
        yield group

    def _embed(self, sentences: Sequence[Sentence]) -> Iterator[Floats]:
        batch, at = self._batch, 0
        for number, sentence in enumerate(sentences):
            for position, token in enumerate(sentence):
                batch.token[at], batch.pos[at] = token, position
                batch.n_seq_id[at], batch.seq_id[at][0], batch.logits[at] = 1, number, True
                at += 1
        batch.n_tokens = at
        code = llama_cpp.llama_encode(self._context, batch)
        if code != 0:
            raise QuantmakeError(f"{self._path}: llama_encode failed (code {code})")
        for number in range(len(sentences)):
            row = llama_cpp.llama_get_embeddings_seq(self._context, number)
            if not row:
                raise QuantmakeError(
                    f"{self._path} does not say how its embeddings are pooled (its pooling_type); "
                    "convert it again"
                )
            values = ctypes.cast(row, ctypes.POINTER(ctypes.c_float))
            yield np.ctypeslib.as_array(values, shape=(self._embedding_width,)).copy()
