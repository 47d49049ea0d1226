"""GPTQ onto bitsandbytes' 4-bit grid; its mathematics are in scripts/methods/gptq.py.

With double quantisation absmax is searched for each block by itself first, which gives the frame
in which it is stored; then GPTQ chooses among what the frame holds, so that errors are compensated
for against the values that bitsandbytes will compute with. absmax may lie below zero: what computes
takes it as a factor, and it turns the levels of NF4 around, which are no mirror of themselves.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from bitsandbytes.functional import QuantState, get_4bit_type

from scripts.backends.bitsandbytes.double_quantisation import Frame
from scripts.backends.bitsandbytes.grid import Levels, storable
from scripts.backends.bitsandbytes.plan import Plan
from scripts.backends.bitsandbytes.rtn import rtn
from scripts.backends.bitsandbytes.stored import Quantised, Settings, work_of
from scripts.backends.folder_factors import GptqSettings, factors_of
from scripts.backends.hessians import Hessians
from scripts.backends.shards import NotFinite, Work
from scripts.checkpoint import Checkpoints
from scripts.methods import gptq as method
from scripts.methods.block_grid import Rounded, Storage
from scripts.methods.gptq import Factor


class _Settings(Settings, GptqSettings, Protocol):
    """Of the format and of GPTQ."""


def work(inputs: Mapping[str, Path], plan: Plan, settings: _Settings) -> Work:
    """GPTQ for the weights of a plan; those whose inputs the capture has not seen are rounded to
    nearest where `on_unsupported` is `rtn`. Raises QuantmakeError as `Hessians`."""
    hessians = Hessians(inputs["capture"], plan.weights, settings.on_unsupported)
    factor_of = factors_of(hessians, (settings.block_size,), settings.damping)

    def quantise(name: str, weight: torch.Tensor) -> Quantised:
        if name in hessians.unseen:
            return rtn(weight, settings)
        if not torch.isfinite(weight).all():
            raise NotFinite
        return gptq(weight, factor_of(name), settings)

    return work_of(plan, quantise, Checkpoints.of_this_run(), hessians.outcomes)


def gptq(weight: torch.Tensor, factor: Factor, settings: _Settings) -> Quantised:
    """Packed codes uint8 [N · K / 2, 1] and their state for a weight [N, K] and the factor of its
    Hessian, which keeps blocks together."""
    rounded, frame = rounded_in_frame(weight, factor, settings)
    absmax = torch.from_numpy(rounded.scales)
    state = QuantState(
        absmax=(absmax if frame is None else frame.codes(absmax)).reshape(-1),
        shape=weight.shape,
        dtype=weight.dtype,
        blocksize=settings.block_size,
        code=get_4bit_type(settings.quant_type, device="cpu"),
        quant_type=settings.quant_type,
        offset=frame.offset if frame else None,
        state2=frame.state if frame else None,
    )
    return Levels.of(settings.quant_type).pack(torch.from_numpy(rounded.codes)), state


def rounded_in_frame(
    weight: torch.Tensor, factor: Factor, settings: _Settings
) -> tuple[Rounded, Frame | None]:
    """What GPTQ gives, whose scales are absmax, and the frame that holds these where they are
    quantised too."""
    levels, size = Levels.of(settings.quant_type), settings.block_size
    single = levels.grid(size, Storage.SINGLE)
    if not settings.double_quant:
        return method.gptq(weight, factor, single, rounds=settings.rounds), None
    apart = method.best_scales(weight, factor, single)
    frame, _ = Frame.of(torch.from_numpy(apart).reshape(-1))
    grid, coded = levels.grid(size, Storage.CODED), storable(frame, apart.shape)
    return method.gptq(weight, factor, grid, rounds=settings.rounds, coded=coded), frame
