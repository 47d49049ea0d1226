"""RTN onto bitsandbytes' 4-bit grid: what bitsandbytes itself gives, bit for bit."""

from collections.abc import Mapping
from pathlib import Path

import torch
from bitsandbytes.functional import QuantState, get_4bit_type

from scripts.backends.bitsandbytes.double_quantisation import Frame
from scripts.backends.bitsandbytes.kernel import quantise_blocks
from scripts.backends.bitsandbytes.plan import Plan
from scripts.backends.bitsandbytes.stored import Quantised, Settings, work_of
from scripts.backends.shards import NotFinite, Work
from scripts.checkpoint import Checkpoints


def work(inputs: Mapping[str, Path], plan: Plan, settings: Settings) -> Work:
    """Every weight of the plan is rounded to nearest."""
    # Rounding to nearest is as fast as reading what was kept.
    return work_of(plan, lambda _, weight: rtn(weight, settings), Checkpoints(None))


def rtn(weight: torch.Tensor, settings: Settings) -> Quantised:
    """As bitsandbytes' quantize_4bit(compress_statistics=double_quant), for any thread count.

    `weight` is [out, in]; the packed values are uint8 [out · in / 2, 1], the first of each pair
    in the high nibble. Raises NotFinite.
    """
    packed, absmax, finite = quantise_blocks(
        weight.contiguous(), settings.block_size, settings.quant_type
    )
    if not finite:
        raise NotFinite
    state = QuantState(
        absmax=absmax,
        shape=weight.shape,
        dtype=weight.dtype,
        blocksize=settings.block_size,
        code=get_4bit_type(settings.quant_type, device="cpu"),
        quant_type=settings.quant_type,
    )
    if settings.double_quant:
        frame, state.absmax = Frame.of(state.absmax)
        state.offset, state.state2, state.nested = frame.offset, frame.state, True
    return packed, state
