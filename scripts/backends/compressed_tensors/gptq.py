"""GPTQ onto each layout's grid; its mathematics are in scripts/methods/gptq.py.

Errors are compensated for against the values that the runtimes compute with.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch

from scripts.backends.compressed_tensors.plan import Plan
from scripts.backends.compressed_tensors.rounding import Rounded, kernel_of, layout_for, nearest
from scripts.backends.compressed_tensors.schemes import Settings
from scripts.backends.folder_factors import GptqSettings, factors_of
from scripts.backends.folding import Folding
from scripts.backends.hessians import Hessians
from scripts.backends.shards import Work
from scripts.checkpoint import Checkpoints
from scripts.methods.gptq import gptq


class _Settings(Settings, GptqSettings, Protocol):
    """Of the format and of GPTQ."""


def work(inputs: Mapping[str, Path], plan: Plan, settings: _Settings, folding: Folding) -> Work:
    """GPTQ for the weights of a plan; those whose inputs the capture has not seen are rounded to
    nearest where `on_unsupported` is `rtn`. Raises QuantmakeError as `Hessians`."""
    layout = layout_for(inputs["base"], plan, settings)
    hessians = Hessians(inputs["capture"], plan.weights, settings.on_unsupported)
    sizes = (layout.divisor,) if layout.divisor > 1 else ()
    factor_of = factors_of(hessians, sizes, settings.damping, folding.hessian)

    def rounded(name: str, weight: torch.Tensor) -> Rounded:
        if name in hessians.unseen:
            return nearest(layout, name, weight)
        grid, coded = layout.blocks(weight.shape[1]), layout.coded(name, *weight.shape)
        made = gptq(weight, factor_of(name), grid, rounds=settings.rounds, coded=coded)
        levels = torch.from_numpy(grid.steps[made.codes])
        return levels, torch.from_numpy(made.scales)

    weights, one = plan.weights | folding.rows.keys(), kernel_of(layout, folding, rounded)
    return Work(weights, one, Checkpoints.of_this_run(), hessians.outcomes)
