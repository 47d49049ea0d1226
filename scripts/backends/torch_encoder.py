"""Encoders through PyTorch and transformers, in float32."""

from pathlib import Path

import torch

from scripts.backends.encoder import Floats, Integers, PaddedEncoder, padding_of
from scripts.base.encoder_model import encoder_model


class TorchEncoder(PaddedEncoder):
    """A Hugging Face folder."""

    def __init__(self, path: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        self._model = encoder_model(path)
        super().__init__(path, self._run, padding_of(path))

    def _run(self, ids: Integers, mask: Integers) -> Floats:
        with torch.inference_mode():
            given = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
            states: Floats = self._model(**given).last_hidden_state.numpy()
        return states
