"""Encoders through PyTorch and transformers, in float32."""

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModel

from scripts.backends.encoder import Floats, Integers, PaddedEncoder, padding_of
from scripts.base.encoder import encoder_class_arguments


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


def encoder_model(folder: Path, attention: str = "sdpa") -> torch.nn.Module:
    """The model in float32, ready to be run; `attention` is transformers' name of its kernel."""
    config = AutoConfig.from_pretrained(folder, attn_implementation=attention)
    model: torch.nn.Module = AutoModel.from_pretrained(
        folder,
        config=config,
        dtype=torch.float32,
        local_files_only=True,
        **encoder_class_arguments(config),
    )
    return model.eval()
