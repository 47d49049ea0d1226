"""How far the predictions move when a single layer is rounded: a diagnosis, on calibration text."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.evaluation.result import Estimate
from scripts.footprints import FOOTPRINTS
from scripts.progress import track
from scripts.stage import Stage
from scripts.strict import Strict

if TYPE_CHECKING:
    import torch

FILE = "sensitivity.json"
EMBEDDING = "embedding and head"


class LayerError(Strict):
    """Mean KL divergence in nats from the unrounded model, where only this layer is rounded."""

    name: str
    kld: Estimate


class Sensitivity(Strict):
    """All decoder layers in order, then the embedding with the head; none of a model whose
    layers are not known. `reason` says why nothing could be measured."""

    bits: int
    block_size: int
    tokens_scored: int
    layers: list[LayerError]
    reason: str = ""


class MeasureSensitivity(Stage):
    """Round each layer alone and measure what it does to the predictions

    Weights are rounded to nearest between the minimum and the maximum of a block, as in Q4_1. The
    second halves of `windows` windows of `tokens` tokens of the calibration are scored. `out` is
    a JSON file, a `Sensitivity`.
    """

    bits: int = 4
    block_size: int = 32
    windows: int = 2
    tokens: int = 128
    suffix = ".json"
    footprint = FOOTPRINTS["sensitivity"]
    canonical = False

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """A model that can't be measured costs a report this section, and nothing else."""
        try:
            layers, reason = self._layers(inputs), ""
        except Exception as error:  # of transformers or of the model's own code
            layers, reason = [], f"{type(error).__name__}: {error}"
            print(f"the layers' sensitivity could not be measured: {reason}")
        record = Sensitivity(
            bits=self.bits,
            block_size=self.block_size,
            tokens_scored=self.windows * (self.tokens - self.tokens // 2),
            layers=layers,
            reason=reason,
        )
        out.write_text(record.model_dump_json(indent=1) + "\n")

    def is_settled(self, target: Path) -> bool:
        """Whether it was measured: a failure is never taken as the last word."""
        try:
            return not Sensitivity.model_validate_json(target.read_bytes()).reason
        except (OSError, ValueError):
            return False

    def _layers(self, inputs: Mapping[str, Path]) -> list[LayerError]:
        """The unrounded model runs once; a rounded layer starts from its stored input."""
        import torch
        from transformers import AutoModelForCausalLM

        from scripts.calibration.stand_ins import UnknownLayers
        from scripts.evaluation.metrics import mean
        from scripts.evaluation.partial_run import PartialRun
        from scripts.token_windows import read_windows
        from scripts.workers import available_cores

        torch.set_num_threads(available_cores())
        ids = read_windows(inputs["calibration"])[: self.windows, : self.tokens]
        model = AutoModelForCausalLM.from_pretrained(inputs["base"], dtype=torch.float32).eval()
        layers: list[LayerError] = []
        with torch.inference_mode(), contextlib.suppress(UnknownLayers):
            run = PartialRun(model, torch.from_numpy(ids))
            for place in track(range(len(run.layers)), "rounding layers"):
                with rounded(run.layers[place], self.bits, self.block_size):
                    error = mean(run.again_from(place))
                layers.append(LayerError(name=f"layer {place}", kld=error))
            ends = [model.get_input_embeddings(), model.get_output_embeddings()]
            with rounded(torch.nn.ModuleList(ends), self.bits, self.block_size):
                layers.append(LayerError(name=EMBEDDING, kld=mean(run.whole())))
        return layers


class rounded:
    """While it is open, the matrices of a module are rounded; then they are as they were."""

    def __init__(self, module: "torch.nn.Module", bits: int, block_size: int) -> None:
        self._bits, self._block = bits, block_size
        # A tied embedding and head are one parameter, and appear once.
        # GPT-2's Conv1D stores [columns, rows].
        turned = {
            id(one)
            for part in module.modules()
            if type(part).__name__ == "Conv1D"
            for one in part.parameters()
        }
        self._weights: list[Any] = [one for one in module.parameters() if one.dim() == 2]
        self._turned = [id(one) in turned for one in self._weights]

    def __enter__(self) -> None:
        self._kept = [one.data for one in self._weights]
        for one, turned in zip(self._weights, self._turned, strict=True):
            matrix = one.data.T if turned else one.data
            rounded = round_to_nearest(matrix, self._bits, self._block)
            one.data = rounded.T if turned else rounded

    def __exit__(self, *_: object) -> None:
        for one, kept in zip(self._weights, self._kept, strict=True):
            one.data = kept


def round_to_nearest(weight: "torch.Tensor", bits: int, block_size: int) -> "torch.Tensor":
    """A matrix [rows, columns] on a grid of 2^bits values between each block's extremes.

    Blocks lie along the columns; the last is narrower where the width does not divide.
    """
    import torch

    parts = []
    for block in torch.split(weight, block_size, 1):
        low, high = block.aminmax(dim=1, keepdim=True)
        step = ((high - low) / (2**bits - 1)).clamp_min(torch.finfo(weight.dtype).tiny)
        parts.append(((block - low) / step).round() * step + low)
    return torch.cat(parts, 1)
