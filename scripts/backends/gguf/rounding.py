"""Better values in the same blocks: a quantised GGUF file's tensors rounded again, by GPTQ."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFReader

from scripts.backends.gguf.blocks import BLOCK_TYPES, BlockType
from scripts.backends.gguf.gptq import Factor, factor, gptq
from scripts.backends.gguf.importance import importances
from scripts.checkpoint import Checkpoints
from scripts.errors import QuantmakeError
from scripts.progress import Progress
from scripts.workers import one_thread


def weights_of(tensor: Any) -> torch.Tensor:
    """The values of a GGUFReader's tensor [rows, columns] in float32.

    Raises QuantmakeError where one is not finite.
    """
    weights = torch.from_numpy(tensor.data.astype(np.float32))
    if not bool(torch.isfinite(weights).all()):
        raise QuantmakeError(
            f"{tensor.name} of the F16 file holds NaN or infinity (FP16 ends at 65,504); a "
            "quantised model of it would answer nonsense. Mend the source model."
        )
    return weights


def _rounded(
    tensor: Any, factored: Callable[[], Factor], kind: BlockType
) -> dict[str, torch.Tensor]:
    """By GPTQ; for a checkpoint."""
    rounded = gptq(weights_of(tensor), factored(), kind)
    return {"data": torch.from_numpy(rounded.data), "loss": rounded.loss}


def round_again(f16: Path, capture: Path, gradients: Path, out: Path) -> tuple[int, float]:
    """Overwrite in place the tensors of `out` that have a Hessian and one of BLOCK_TYPES.

    Returns how many, and what they cost in nats per token, as the gradients predict it.
    """
    originals = {tensor.name: tensor for tensor in GGUFReader(f16).tensors}
    file = GGUFReader(out, "r+")
    tensors = {tensor.name: tensor for tensor in file.tensors}
    kinds = {kind.type: kind for kind in BLOCK_TYPES.values()}
    count, predicted = 0, 0.0
    bar = Progress("rounding", len(tensors), "tensors")
    checkpoints = Checkpoints.of_this_run()
    with one_thread():
        for importance in importances(f16, capture, gradients):
            factored = cache(partial(factor, importance.hessian))
            for name, rows in importance.rows.items():
                kind = kinds.get(GGMLQuantizationType(tensors[name].tensor_type))
                if kind is not None:
                    make = partial(_rounded, originals[name], factored, kind)
                    rounded = checkpoints.result(f"round {name}", make)
                    tensors[name].data[...] = rounded["data"].numpy()
                    predicted += float((rounded["loss"] * rows).sum() / 2)
                    count += 1
                bar.advance()
    file.data.flush()
    return count, predicted
