"""PyTorch with transformers: the FP16 base computed in FP32, and bitsandbytes folders."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from scripts.backends.model import Logits, Tokens, check_finite

disable_progress_bar()  # of loading, which would stand between the lines of a chat


class TorchModel:
    """A Hugging Face folder, computed in FP32 on the CPU. With `lean`, one layer at a time is in
    memory where the model's layers are known; the logits are the same."""

    def __init__(self, path: Path, threads: int, context: int, *, lean: bool = False) -> None:
        torch.set_num_threads(threads)
        self._path = path
        self._model = self._by_layer(path) if lean else self._whole(path)
        self._cache: Any = None

    def _whole(self, path: Path) -> Any:
        model = AutoModelForCausalLM.from_pretrained(
            path, dtype=torch.float32, local_files_only=True
        )
        # Of a folder that is quantised, `dtype` says nothing of the norms and the embedding.
        return torch.nn.Module.float(model).eval()

    def _by_layer(self, path: Path) -> Any:
        from scripts.calibration.decoder import Decoder
        from scripts.calibration.stand_ins import UnknownLayers

        try:
            return Decoder(path).whole()
        except UnknownLayers as reason:
            print(f"the whole model is held in memory: {reason}", flush=True)
            return self._whole(path)

    @torch.inference_mode()
    def scores(self, tokens: Tokens, first: int) -> Logits:
        """As `Model.scores`."""
        ids = torch.from_numpy(tokens.astype("int64"))[None]
        keep = len(tokens) - first
        return self._logits(self._model(ids, use_cache=False, logits_to_keep=keep))

    def prefill(self, tokens: Tokens) -> Logits:
        """As `Model.prefill`."""
        last: Logits = self._append(tokens, anew=True, keep=1)[-1]
        return last

    def decode(self, token: int) -> Logits:
        """As `Model.decode`."""
        last: Logits = self._append(np.array([token]), anew=False, keep=1)[-1]
        return last

    def extend(self, tokens: Tokens, *, anew: bool = False) -> Logits:
        """As `Model.extend`."""
        return self._append(tokens, anew=anew, keep=len(tokens))

    @torch.inference_mode()
    def _append(self, tokens: Tokens, *, anew: bool, keep: int) -> Logits:
        if anew:
            self._cache = None  # the model makes one of its own kind
        ids = torch.from_numpy(tokens.astype("int64"))[None]
        output = self._model(ids, cache=self._cache, use_cache=True, logits_to_keep=keep)
        self._cache = output.cache
        return self._logits(output)

    def _logits(self, output: object) -> Logits:
        logits: torch.Tensor = output.logits[0]  # type: ignore[attr-defined]
        return check_finite(logits.float().numpy(), self._path)
