"""What an error in a GGUF file's tensors costs, by the calibration's Hessians and gradients."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFReader

from scripts.backends.gguf.imatrix import EMBEDDING, OUTPUT, names_in
from scripts.calibration.stored import Captured, gradient_squares
from scripts.errors import QuantmakeError

# llama.cpp's converter reorders their rows for some architectures.
_REORDERED = ("attn_q.weight", "attn_k.weight")


@dataclass(frozen=True)
class Importance:
    """Of tensors that read the same input: their loss is ½ Σ_r rows[r] · dW[r] H dW[r]ᵀ nats.

    `hessian` [columns, columns]; `rows` maps each tensor's name to [rows].
    """

    hessian: torch.Tensor
    rows: dict[str, torch.Tensor]


def values_of(tensor: Any) -> torch.Tensor:
    """The values of a GGUFReader's tensor [rows, columns] in float32.

    Raises QuantmakeError where one is not finite.
    """
    values = torch.from_numpy(tensor.data.astype(np.float32))
    if not bool(torch.isfinite(values).all()):
        raise QuantmakeError(
            f"{tensor.name} of the F16 file holds NaN or infinity (FP16 ends at 65,504); a "
            "quantised model of it would answer nonsense. Mend the source model."
        )
    return values


def importances(f16: Path, capture: Path, gradients: Path) -> Iterator[Importance]:
    """Each Hessian with the tensors that it is of; the embedding comes last.

    Raises QuantmakeError where a tensor has another shape than the linear that it comes from.
    """
    reader = GGUFReader(f16)
    shapes = {t.name: t.shape.tolist()[::-1] for t in reader.tensors if len(t.shape) == 2}
    names, captured = names_in(reader), Captured(capture)
    squares = {
        f"{names.get_name(module)}.weight": torch.from_numpy(square)
        for module, square in gradient_squares(gradients).items()
    }
    sharing: dict[str, list[str]] = {}
    head = ""
    for module in captured.names:
        name = f"{names.get_name(module)}.weight"
        sharing.setdefault(captured.input_of(module), []).append(name)
        head = module if name == OUTPUT else head
    for source, tensors in sharing.items():
        rows = {
            name: square.mean().expand(len(square)) if name.endswith(_REORDERED) else square
            for name, square in ((name, squares[name]) for name in tensors if name in shapes)
        }
        if rows:
            hessian = torch.from_numpy(captured.hessian(source))
            yield _checked(Importance(hessian, rows), shapes)
    # A token is read as often as it is expected: both uses of a tied row weigh it alike.
    read = squares[EMBEDDING].diag()
    if OUTPUT not in shapes:
        read = read + torch.from_numpy(captured.hessian(head))
    yield _checked(Importance(read, {EMBEDDING: squares[OUTPUT]}), shapes)


def _checked(importance: Importance, shapes: dict[str, list[int]]) -> Importance:
    for name, rows in importance.rows.items():
        if [len(rows), len(importance.hessian)] != shapes[name]:
            raise QuantmakeError(
                f"{name} is {shapes[name]}, but the calibration saw a linear of "
                f"{[len(rows), len(importance.hessian)]} under this name: llama.cpp's converter "
                "reshapes it, so neither `type: auto` nor `method: gptq` can be used here"
            )
    return importance
