"""Better values in the same blocks: a quantised GGUF file's tensors rounded again, by GPTQ."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFReader

from scripts.backends.gguf.blocks import BLOCK_TYPES, BlockType
from scripts.backends.gguf.importance import importances, values_of
from scripts.checkpoint import Checkpoints
from scripts.methods.block_gptq import Array, Factor, Rounded, factor, gptq
from scripts.methods.block_refine import refined
from scripts.progress import Progress
from scripts.workers import one_thread


def data_of(rounded: Rounded, kind: BlockType) -> Array:
    """The bytes of a tensor [rows, bytes of a row]."""
    return np.hstack([kind.pack(blocks) for blocks in rounded.blocks])


def _rounded(
    tensor: Any, hessian: torch.Tensor, factored: Callable[[], Factor], kind: BlockType, rounds: int
) -> dict[str, torch.Tensor]:
    """By GPTQ; for a checkpoint."""
    values = values_of(tensor)
    rounded = gptq(values, factored(), kind)
    if rounds:
        rounded = refined(values, rounded, hessian, kind, rounds)
    return {"data": torch.from_numpy(data_of(rounded, kind)), "loss": rounded.loss}


def round_again(inputs: Mapping[str, Path], out: Path, rounds: int) -> str:
    """Overwrite in place the tensors of `out` that have a Hessian and one of BLOCK_TYPES.

    `inputs` are the F16 file, the capture and the gradients; `rounds` refinements follow GPTQ's
    pass. Returns how many tensors these are,
    and what they cost in nats per token, as the gradients predict it.
    """
    originals = {tensor.name: tensor for tensor in GGUFReader(inputs["f16"]).tensors}
    file = GGUFReader(out, "r+")
    tensors = {tensor.name: tensor for tensor in file.tensors}
    kinds = {kind.type: kind for kind in BLOCK_TYPES.values()}
    count, predicted = 0, 0.0
    bar = Progress("rounding", len(tensors), "tensors")
    checkpoints = Checkpoints.of_this_run()
    with one_thread():
        for importance in importances(inputs["f16"], inputs["capture"], inputs["gradients"]):
            factored = cache(partial(factor, importance.hessian))
            for name, rows in importance.rows.items():
                kind = kinds.get(GGMLQuantizationType(tensors[name].tensor_type))
                if kind is not None:
                    original, hessian = originals[name], importance.hessian
                    make = partial(_rounded, original, hessian, factored, kind, rounds)
                    rounded = checkpoints.result(f"round {name}", make)
                    tensors[name].data[...] = rounded["data"].numpy()
                    predicted += float((rounded["loss"] * rows).sum() / 2)
                    count += 1
                bar.advance()
    file.data.flush()
    return f"{count} tensors, predicted KLD {predicted:.4f} nats per token"
