"""Better values in the same blocks: a quantised GGUF file's tensors rounded again, by GPTQ."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from gguf import GGMLQuantizationType, GGUFReader

from scripts.backends.gguf.blocks import BLOCK_TYPES, DAMPING, NESTED, BlockType
from scripts.backends.gguf.importance import importances, values_of
from scripts.backends.gguf.names import Matrix
from scripts.checkpoint import Checkpoints
from scripts.methods.gptq import Factor, Run, factor, gptq
from scripts.progress import Progress
from scripts.workers import available_cores, single_core_workers


def _rounded(
    values: torch.Tensor, factored: Callable[[], Factor], kind: BlockType, rounds: int, run: Run
) -> dict[str, torch.Tensor]:
    """By GPTQ; for a checkpoint."""
    rounded = gptq(values, factored(), kind.grid, rounds=rounds, run=run)
    return {"data": torch.from_numpy(kind.data(rounded)), "loss": torch.from_numpy(rounded.loss)}


def round_again(inputs: Mapping[str, Path], out: Path, rounds: int) -> str:
    """Overwrite in place the matrices of `out` that have a Hessian and one of BLOCK_TYPES.

    `inputs` are the F16 file, the capture and, if there are any, the gradients; `rounds`
    refinements follow GPTQ's pass. Returns how many these are, which are not among them, and what
    they cost in nats per token where gradients predict it.
    """
    originals = {tensor.name: tensor for tensor in GGUFReader(inputs["f16"]).tensors}
    file = GGUFReader(out, "r+")
    tensors = {tensor.name: tensor for tensor in file.tensors}
    kinds = {kind.type: kind for kind in BLOCK_TYPES.values()}
    done, predicted = set[Matrix](), 0.0
    bar = Progress("rounding", len(tensors), "tensors")
    checkpoints = Checkpoints.of_this_run()
    with single_core_workers(available_cores()) as pool:
        for importance in importances(inputs["f16"], inputs["capture"], inputs.get("gradients")):
            first = next(iter(importance.rows)).tensor
            factored = cache(partial(factor, importance.hessian, NESTED, DAMPING, first))
            for matrix, rows in importance.rows.items():
                tensor = tensors[matrix.tensor]
                kind = kinds.get(GGMLQuantizationType(tensor.tensor_type))
                if kind is not None:
                    values = matrix.of(values_of(originals[matrix.tensor]))
                    make = partial(_rounded, values, factored, kind, rounds, pool.map)
                    rounded = checkpoints.result(f"round {_name(matrix)}", make)
                    matrix.of(tensor.data)[...] = rounded["data"].numpy()
                    predicted += float((rounded["loss"] * rows).sum() / 2)
                    done.add(matrix)
                bar.advance()
    file.data.flush()
    left = [_name(one) for one in _quantised(tensors) if one not in done]
    also = (
        f"; llama.cpp rounded these, whose inputs the calibration does not know: {', '.join(left)}"
        if left
        else ""
    )
    cost = f", predicted KLD {predicted:.4f} nats per token" if "gradients" in inputs else ""
    return f"{len(done)} matrices{cost}{also}"


def _name(matrix: Matrix) -> str:
    return matrix.tensor if matrix.expert is None else f"{matrix.tensor} (expert {matrix.expert})"


def _quantised(tensors: Mapping[str, Any]) -> list[Matrix]:
    """The matrices of a file that are not float, expert by expert."""
    floats = {GGMLQuantizationType[name] for name in ("F32", "F16", "BF16")}
    matrices: list[Matrix] = []
    for name, tensor in tensors.items():
        if tensor.tensor_type not in floats:
            experts = range(int(tensor.shape[2])) if len(tensor.shape) == 3 else [None]
            matrices += [Matrix(name, expert) for expert in experts]
    return matrices
