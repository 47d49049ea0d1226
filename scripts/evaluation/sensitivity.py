"""How far the predictions move when a single layer is rounded: a diagnosis, on calibration text."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.devices import Device
from scripts.evaluation.result import Estimate
from scripts.footprints import FOOTPRINTS
from scripts.stage import Stage
from scripts.strict import Strict

if TYPE_CHECKING:
    import torch

FILE = "sensitivity.json"
EMBEDDING = "embedding and head"
_ROWS = 4096


class LayerError(Strict):
    """Mean KL divergence in nats from the unrounded model, where only this layer is rounded."""

    name: str
    kld: Estimate


class Sensitivity(Strict):
    """All decoder layers in order, then the embedding with the head. `reason` says why nothing
    could be measured; where that is `final`, the model's layers are not known, and it is not tried
    again."""

    bits: int
    block_size: int
    tokens_scored: int
    layers: list[LayerError]
    reason: str = ""
    final: bool = True


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
    device: Device = "cpu"
    suffix = ".json"
    footprint = FOOTPRINTS["sensitivity"]
    canonical = False

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """A model that can't be measured costs a report this section, and nothing else."""
        from scripts.calibration.stand_ins import UnknownLayers

        layers, reason, final = list[LayerError](), "", True
        try:
            layers = self._layers(inputs)
        except UnknownLayers as error:
            reason = str(error)
        except Exception as error:  # of transformers or of the model's own code
            reason, final = f"{type(error).__name__}: {error}", False
        if reason:
            print(f"the layers' sensitivity could not be measured: {reason}")
        record = Sensitivity(
            bits=self.bits,
            block_size=self.block_size,
            tokens_scored=self.windows * (self.tokens - self.tokens // 2),
            layers=layers,
            reason=reason,
            final=final,
        )
        out.write_text(record.model_dump_json(indent=1) + "\n")

    def is_settled(self, target: Path) -> bool:
        """Whether it was measured, or can't be: another failure is not taken as the last word."""
        try:
            return Sensitivity.model_validate_json(target.read_bytes()).final
        except (OSError, ValueError):
            return False

    def _layers(self, inputs: Mapping[str, Path]) -> list[LayerError]:
        from functools import partial

        import torch

        from scripts.evaluation.metrics import mean
        from scripts.evaluation.streams import divergences
        from scripts.token_windows import read_windows
        from scripts.workers import available_cores

        torch.set_num_threads(available_cores())
        ids = read_windows(inputs["calibration"])[: self.windows, : self.tokens]
        round_ = partial(round_in_place, bits=self.bits, block_size=self.block_size)
        with torch.inference_mode():
            errors = list(divergences(inputs["base"], torch.from_numpy(ids), round_, self.device))
        names = [*(f"layer {place}" for place in range(len(errors) - 1)), EMBEDDING]
        return [
            LayerError(name=name, kld=mean(error))
            for name, error in zip(names, errors, strict=True)
        ]


def round_in_place(module: "torch.nn.Module", bits: int, block_size: int) -> None:
    """Round the matrices of a module, a few rows at a time."""
    import torch

    for part in module.modules():
        for one, turned in _matrices(part):
            rows = one.data.mT if turned else one.data
            for matrix in rows if rows.dim() == 3 else [rows]:
                for some in torch.split(matrix, _ROWS):
                    some.copy_(round_to_nearest(some, bits, block_size))


def _matrices(part: "torch.nn.Module") -> list[tuple[Any, bool]]:
    """A module's own matrices, and the stacked ones of its experts; whether they are stored
    [.., columns, rows]: GPT-2's Conv1D are, and experts that are multiplied from the left."""
    kind = type(part).__name__
    own = [(name, one) for name, one in part.named_parameters(recurse=False)]
    return [
        (one, kind == "Conv1D" if one.dim() == 2 else name != "weight")
        for name, one in own
        if one.dim() == 2 or (one.dim() == 3 and kind != "Conv1d")
    ]


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
