"""GPTQ onto bitsandbytes' 4-bit grid; its mathematics are in scripts/methods/gptq.py.

absmax is searched and put into its stored form first; errors are compensated for against the
values that bitsandbytes will compute with. The frame of the double quantisation then stays, so that
each row can be refined by itself.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from bitsandbytes.functional import QuantState, get_4bit_type

from scripts.backends.bitsandbytes.grid import Absmax, LevelGrid, Levels, search
from scripts.backends.bitsandbytes.plan import Plan
from scripts.backends.bitsandbytes.rtn import rtn
from scripts.backends.bitsandbytes.stored import Quantised, Settings, work_of
from scripts.backends.hessians import Hessians
from scripts.backends.shards import NotFinite, Work
from scripts.checkpoint import Checkpoints
from scripts.methods import gptq as kernel


class GptqSettings(Settings, Protocol):
    """`damping` is the share of H's mean diagonal that is added to it; `rounds` counts the
    refinements after the paper's pass."""

    @property
    def damping(self) -> float: ...
    @property
    def rounds(self) -> int: ...
    @property
    def on_unsupported(self) -> str: ...


def work(inputs: Mapping[str, Path], plan: Plan, settings: GptqSettings) -> Work:
    """GPTQ for the weights of a plan; those whose inputs the capture has not seen are rounded to
    nearest where `on_unsupported` is `rtn`. Raises QuantmakeError as `Hessians`."""
    hessians = Hessians(inputs["capture"], plan.weights, settings.on_unsupported)

    def quantise(name: str, weight: torch.Tensor) -> Quantised:
        if name in hessians.unseen:
            return rtn(weight, settings)
        if not torch.isfinite(weight).all():
            raise NotFinite
        return hessians.compensate(name, lambda hessian: gptq(weight, hessian, settings))

    return work_of(plan, quantise, Checkpoints.of_this_run(), hessians.outcomes)


def gptq(weight: torch.Tensor, hessian: torch.Tensor, settings: GptqSettings) -> Quantised:
    """Packed codes uint8 [N · K / 2, 1] and their state for a weight [N, K] and H float32 [K, K].

    Raises torch.linalg.LinAlgError where the damped H is not positive definite.
    """
    values, size, levels = weight.float(), settings.block_size, Levels.of(settings.quant_type)

    def grid_for(importance: torch.Tensor) -> LevelGrid:
        absmax = search(values, importance, size, levels)
        return LevelGrid(Absmax.of(absmax, settings.double_quant), levels, size)

    chosen, grid = kernel.gptq(
        values, hessian, grid_for, damping=settings.damping, rounds=settings.rounds
    )
    frame = grid.absmax.frame
    state = QuantState(
        absmax=grid.absmax.stored.reshape(-1),
        shape=weight.shape,
        dtype=weight.dtype,
        blocksize=size,
        code=get_4bit_type(settings.quant_type, device="cpu"),
        quant_type=settings.quant_type,
        offset=frame.offset if frame else None,
        state2=frame.state if frame else None,
    )
    return levels.pack(chosen), state
