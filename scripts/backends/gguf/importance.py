"""What an error in a GGUF file's tensors costs, by the calibration's Hessians and gradients."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFReader

from scripts.backends.gguf.names import EMBEDDING, OUTPUT, Matrix, Names
from scripts.calibration.stored import Captured, gradient_squares
from scripts.errors import QuantmakeError

# llama.cpp's converter reorders their rows for some architectures.
_REORDERED = ("attn_q.weight", "attn_k.weight")


@dataclass(frozen=True)
class Importance:
    """Of matrices that have one Hessian: their loss is ½ Σ_r rows[r] · dW[r] H dW[r]ᵀ nats.

    `hessian` [columns, columns]; `rows` has the [rows] of each matrix.
    """

    hessian: torch.Tensor
    rows: dict[Matrix, torch.Tensor]


def values_of(tensor: Any) -> torch.Tensor:
    """The values of a GGUFReader's tensor [rows, columns], or of stacked ones, in float32.

    Raises QuantmakeError where one is not finite.
    """
    values = torch.from_numpy(tensor.data.astype(np.float32))
    if not bool(torch.isfinite(values).all()):
        raise QuantmakeError(
            f"{tensor.name} of the F16 file holds NaN or infinity (FP16 ends at 65,504); a "
            "quantised model of it would answer nonsense. Mend the source model."
        )
    return values


def importances(f16: Path, capture: Path, gradients: Path | None) -> Iterator[Importance]:
    """Each Hessian with the matrices that it is of; the embedding comes last. Without gradients all
    rows count alike, and an embedding that is not the head too has no Hessian.

    Raises QuantmakeError where a matrix has another shape than the linear that it comes from.
    """
    names, captured = Names(GGUFReader(f16)), Captured(capture)
    squares = _squares(names, captured, gradients)
    sharing: dict[str, list[Matrix]] = {}
    head, output = "", Matrix(OUTPUT)
    for module in captured.names:
        for matrix in names.parts(module):
            if matrix == output:
                head = module
            if matrix in squares and matrix.tensor in names.shapes:
                sharing.setdefault(captured.source_of(module), []).append(matrix)
    for source, matrices in sharing.items():
        rows = {
            matrix: square.mean().expand(len(square))
            if matrix.tensor.endswith(_REORDERED)
            else square
            for matrix, square in ((matrix, squares[matrix]) for matrix in matrices)
        }
        hessian = torch.from_numpy(captured.hessian(source))
        yield _checked(Importance(hessian, rows), names.shapes)
    # A token is read as often as it is expected: both uses of a tied row weigh it alike.
    parts = [squares[Matrix(EMBEDDING)].diag()] if gradients else []
    if OUTPUT not in names.shapes:
        parts.append(torch.from_numpy(captured.hessian(head)))
    if parts:
        read = sum(parts[1:], parts[0])
        yield _checked(Importance(read, {Matrix(EMBEDDING): squares[output]}), names.shapes)


def _squares(
    names: Names, captured: Captured, gradients: Path | None
) -> dict[Matrix, torch.Tensor]:
    """By matrix what an error in each of its rows counts."""
    if gradients is not None:
        return {
            matrix: torch.from_numpy(square[rows])
            for module, square in gradient_squares(gradients).items()
            for matrix, rows in names.parts(module).items()
        }
    matrices = [matrix for module in captured.names for matrix in names.parts(module)]
    shapes = {matrix: names.shapes.get(matrix.tensor) for matrix in matrices}
    shapes[Matrix(OUTPUT)] = names.shapes.get(OUTPUT, names.shapes[EMBEDDING])
    return {matrix: torch.ones(shape[-2]) for matrix, shape in shapes.items() if shape}


def _checked(importance: Importance, shapes: dict[str, list[int]]) -> Importance:
    for (name, _), rows in importance.rows.items():
        if [len(rows), len(importance.hessian)] != shapes[name][-2:]:
            raise QuantmakeError(
                f"{name} is {shapes[name]}, but the calibration saw a linear of "
                f"{[len(rows), len(importance.hessian)]} under this name: llama.cpp's converter "
                "reshapes it, so neither `type: auto` nor `method: gptq` can be used here"
            )
    return importance
