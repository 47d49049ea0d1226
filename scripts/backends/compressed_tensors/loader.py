"""compressed-tensors folders by stock transformers, which turns their weights back into floats."""

import contextlib
import io
from pathlib import Path

import compressed_tensors  # noqa: F401 - transformers would miss it after it began to load
import torch

from scripts.backends.torch_model import TorchModel


class CompressedModel(TorchModel):
    """A Hugging Face folder whose activations are rounded as its scheme says, on the CPU."""

    def __init__(self, path: Path, threads: int, context: int, *, lean: bool = False) -> None:
        # The package draws bars of its own, over those of whoever loads.
        with contextlib.redirect_stderr(io.StringIO()):
            super().__init__(path, threads, context, lean=lean)
            # Else it were done at the first token, which may be timed; of NVFP4 it makes bfloat16.
            self._model.hf_quantizer.compressor.decompress_model(self._model)
        torch.nn.Module.float(self._model)  # transformers' own refuses what was quantised
