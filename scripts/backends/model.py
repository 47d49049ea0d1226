"""The interface of a loaded model: token ids in, logits out."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scripts.backends.loading import load
from scripts.backends.table import BACKENDS
from scripts.errors import QuantmakeError

Tokens = NDArray[np.int64]
Logits = NDArray[np.float32]


class Scorer(Protocol):
    """What gives logits of whole sequences."""

    def scores(self, tokens: Tokens, first: int) -> Logits:
        """Logits [n - first, vocabulary] of the positions from `first` on, for tokens [n]."""


class Model(Scorer, Protocol):
    """A causal language model with a KV cache of its own."""

    def prefill(self, tokens: Tokens) -> Logits:
        """Start anew with tokens [n]; the logits [vocabulary] of what comes next."""

    def decode(self, token: int) -> Logits:
        """Append one token; the logits [vocabulary] of what comes next."""

    def extend(self, tokens: Tokens, *, anew: bool = False) -> Logits:
        """Append tokens [n], or start `anew` with them; the logits [n, vocabulary] of what comes
        after each."""


def load_model(
    backend: str, path: Path, *, threads: int, context: int, lean: bool = False
) -> Model:
    """Load the artefact at `path` for at most `context` tokens. With `lean`, weights are used as
    they lie in the file where the runtime can, which is slower. Raises as `load` does."""

    def call(loader: Callable[..., Model]) -> Model:
        return loader(path, threads, context, lean=lean)

    return load(backend, path, BACKENDS[backend].loader, call)


def check_finite(logits: Logits, path: Path) -> Logits:
    """The logits as they are; raises QuantmakeError where one is NaN or infinite."""
    if not np.isfinite(logits).all():
        raise QuantmakeError(
            f"{path} gives logits that are NaN or infinite, so it is broken; build it again, and "
            "if it stays so, look at the tensors of its layers"
        )
    return logits
