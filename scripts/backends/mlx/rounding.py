"""What the methods share: modules as they are rounded, and the arrays that come of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.backends.folding import Folding
from scripts.backends.mlx.folder import Arrays, NotFinite, Piece, layout
from scripts.backends.mlx.packing import WORD, pack
from scripts.backends.mlx.plan import Module, Plan
from scripts.checkpoint import Checkpoints
from scripts.methods.affine import Affine, Groups
from scripts.tensors.finite import is_finite
from scripts.tensors.header import Layout, tensors_in
from scripts.tensors.mapped import mapped

Kernel = Callable[[str, torch.Tensor, Affine], Groups]
"""Codes and their grid for the name and the values of a base's weight [N, K]."""
_CODES, _HALF = np.dtype("<u4"), np.dtype("<f2")


@dataclass(frozen=True)
class Method:
    """How codes are chosen: `kernel` for weights to which `folding` was applied, whose results are
    kept in `checkpoints` where asked. `unsupported` says what becomes of each weight that the
    method does not support."""

    kernel: Kernel
    folding: Folding = field(default_factory=Folding)
    # By default none: rounding to nearest is as fast as reading what was kept.
    checkpoints: Checkpoints = field(default_factory=partial(Checkpoints, None))
    unsupported: Mapping[str, str] = field(default_factory=dict)


def nearest(_: str, weight: torch.Tensor, affine: Affine) -> Groups:
    """Rounding to nearest, as a kernel."""
    return affine.nearest(weight)


def pieces_of(base: Path, plan: Plan, method: Method) -> dict[str, Piece]:
    """What is written for a base, by mlx-lm's names; the head is rounded to nearest."""
    tensors = mapped(tensors_in(base))

    def folded(name: str) -> torch.Tensor:
        if not is_finite(tensors[name]):
            raise NotFinite(name)
        return method.folding.folded(name, tensors[name])

    def quantised(module: Module) -> dict[str, torch.Tensor]:
        affine = Affine(module.bits, plan.group)
        kernel = nearest if module.is_head else method.kernel
        with torch.inference_mode():
            made = [kernel(name, folded(name), affine) for name in module.weights]
        return {
            "weight": torch.from_numpy(_stack([pack(one.codes, module.bits) for one in made])),
            "scales": torch.from_numpy(_stack([one.scales.astype(_HALF) for one in made])),
            "biases": torch.from_numpy(_stack([one.offsets.astype(_HALF) for one in made])),
        }

    def of_module(module: Module) -> Arrays:
        parts = method.checkpoints.result(module.name, partial(quantised, module))
        return {f"{module.name}.{part}": one.numpy() for part, one in parts.items()}

    def of_float(name: str) -> Arrays:
        return {name: folded(name).half().numpy()}

    modules = {
        one.name: Piece(layouts_of(one, plan.group), partial(of_module, one))
        for one in plan.modules
    }
    floats = {
        name: Piece({name: layout(_HALF, tuple(tensors[name].shape))}, partial(of_float, name))
        for name in plan.floats
    }
    return {**modules, **floats}


def layouts_of(module: Module, group: int) -> Mapping[str, Layout]:
    """Of the three tensors of a module."""
    groups = layout(_HALF, (*module.shape, module.columns // group))
    words = (*module.shape, module.columns * module.bits // WORD)
    return {
        f"{module.name}.weight": layout(_CODES, words),
        f"{module.name}.scales": groups,
        f"{module.name}.biases": groups,
    }


def _stack(arrays: list[NDArray[np.generic]]) -> NDArray[np.generic]:
    return arrays[0] if len(arrays) == 1 else np.stack(arrays)
