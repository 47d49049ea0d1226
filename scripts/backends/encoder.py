"""The interface of a loaded encoder: sentences as token ids in, embeddings out."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scripts.backends.loading import load
from scripts.backends.table import BACKENDS
from scripts.base.encoder_config import Pooling, read_pooling
from scripts.errors import QuantmakeError

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Sentence = list[int]
"""Token ids, special ones included, no more than the model takes."""
States = Callable[[Integers, Integers], Floats]
"""From token ids and an attention mask [n, tokens], padded right, to states [n, tokens, width]."""


class Encoder(Protocol):
    """What embeds sentences."""

    def embed(self, sentences: Sequence[Sentence]) -> Floats:
        """One batch: embeddings [n, width], pooled as the model says, of length 1 where it is not
        normalised too: only directions are compared."""


def load_encoder(backend: str, path: Path, *, threads: int) -> Encoder:
    """Load the artefact at `path`; raises as `load` does."""

    def call(loader: Callable[[Path, int], Encoder]) -> Encoder:
        return loader(path, threads)

    return load(backend, path, BACKENDS[backend].encoder, call)


def padded(sentences: Sequence[Sentence], padding: int) -> tuple[Integers, Integers]:
    """Token ids and attention mask [n, longest]."""
    longest = max(map(len, sentences))
    ids = np.full((len(sentences), longest), padding, np.int64)
    mask = np.zeros_like(ids)
    for row, sentence in enumerate(sentences):
        ids[row, : len(sentence)], mask[row, : len(sentence)] = sentence, 1
    return ids, mask


def pooled(states: Floats, mask: Integers, pooling: Pooling) -> Floats:
    """Embeddings [n, width] of states [n, tokens, width]."""
    if pooling.mode == "cls":
        return states[:, 0]
    weights = mask[..., None].astype(np.float32)
    mean: Floats = (states * weights).sum(1) / weights.sum(1)
    return mean


def unit(embeddings: Floats, path: Path) -> Floats:
    """Of length 1; raises QuantmakeError where one is NaN, infinite or zero."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    if not np.isfinite(embeddings).all() or not lengths.all():
        raise QuantmakeError(
            f"{path} gives embeddings that are NaN, infinite or zero, so it is broken; build it "
            "again, and if it stays so, look at the tensors of its layers"
        )
    made: Floats = embeddings / lengths
    return made


class PaddedEncoder:
    """An encoder whose runtime gives states of padded batches; the folder says how to pool them."""

    def __init__(self, path: Path, states: States, padding: int) -> None:
        self._path, self._states, self._padding = path, states, padding
        self._pooling = read_pooling(path)

    def embed(self, sentences: Sequence[Sentence]) -> Floats:
        """As `Encoder.embed`."""
        ids, mask = padded(sentences, self._padding)
        return unit(pooled(self._states(ids, mask), mask, self._pooling), self._path)


def padding_of(folder: Path) -> int:
    """The id that a folder's config.json names for padding."""
    from scripts.base.config_json import read_json

    return int(read_json(folder / "config.json").get("pad_token_id") or 0)


def batches(sentences: Sequence[Sentence], size: int) -> Iterator[Sequence[Sentence]]:
    """Of `size` sentences each, the last perhaps of fewer."""
    yield from (sentences[start : start + size] for start in range(0, len(sentences), size))


def embed_all(encoder: Encoder, sentences: Sequence[Sentence], size: int) -> Floats:
    """Embeddings [n, width] of any number of sentences, in batches as they come."""
    return np.concatenate([encoder.embed(batch) for batch in batches(sentences, size)])
