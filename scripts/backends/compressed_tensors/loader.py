"""compressed-tensors folders by stock transformers, which turns their weights back into FP32."""

import contextlib
import io
from pathlib import Path

import compressed_tensors  # noqa: F401 - transformers would miss it after it began to load
import numpy as np

from scripts.backends.torch_model import TorchModel


class CompressedModel(TorchModel):
    """A Hugging Face folder whose activations are rounded as its scheme says, on the CPU."""

    def __init__(self, path: Path, threads: int, context: int, *, lean: bool = False) -> None:
        # The package draws bars of its own, over those of whoever loads.
        with contextlib.redirect_stderr(io.StringIO()):
            super().__init__(path, threads, context, lean=lean)
            # Weights are turned back at the first token; a later one is to be timed.
            self.prefill(np.zeros(1, np.int64))
