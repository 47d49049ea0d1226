"""GPTQ onto bitsandbytes' 4-bit grid; its mathematics are in scripts/methods/gptq.py.

absmax is searched and put into its stored form first; errors are compensated for against the
values that bitsandbytes will compute with. The frame of the double quantisation then stays, so that
each row can be refined by itself.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from bitsandbytes.functional import QuantState, get_4bit_type

from scripts.backends.bitsandbytes.grid import Absmax, LevelGrid, Levels, search
from scripts.backends.bitsandbytes.plan import Plan
from scripts.backends.bitsandbytes.rtn import rtn
from scripts.backends.bitsandbytes.shards import NotFinite, Quantised, Settings, Work
from scripts.calibration.stored import Captured
from scripts.checkpoint import Checkpoints
from scripts.errors import QuantmakeError
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
    nearest where `on_unsupported` is `rtn`.

    Raises QuantmakeError that names these otherwise, and every weight with a Hessian that is all
    zero or not finite.
    """
    captured = Captured(inputs["capture"])
    names = {weight: weight.removesuffix(".weight") for weight in sorted(plan.weights)}
    unseen = [weight for weight, name in names.items() if name not in captured.names]
    if unseen and settings.on_unsupported == "error":
        raise QuantmakeError(
            f"the capture has not seen the inputs of {len(unseen)} weights: {', '.join(unseen)}. "
            "Give the calibration more tokens (`calibration.tokens` in the recipe), or set "
            "on_unsupported to rtn."
        )
    _refuse_unusable(captured, {weight: names[weight] for weight in names if weight not in unseen})

    def quantise(name: str, weight: torch.Tensor) -> Quantised:
        if name in unseen:
            return rtn(weight, settings)
        if not torch.isfinite(weight).all():
            raise NotFinite
        hessian = torch.from_numpy(captured.hessian(names[name]))
        try:
            with torch.inference_mode():
                return gptq(weight, hessian, settings)
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise QuantmakeError(
                f"the Hessian of {name} is not positive definite ({error}); raise `damping`, or "
                "give the calibration more tokens (`calibration.tokens` in the recipe)"
            ) from None

    outcome = "is rounded to nearest: the capture has not seen its inputs"
    return Work(plan, quantise, Checkpoints.of_this_run(), dict.fromkeys(unseen, outcome))


def _refuse_unusable(captured: Captured, names: dict[str, str]) -> None:
    """Raise QuantmakeError that names the weights whose Hessian says nothing."""
    sources = {weight: captured.input_of(name) for weight, name in names.items()}
    broken = set()
    for source in sorted(set(sources.values())):
        hessian = captured.hessian(source)
        if not np.isfinite(hessian).all() or not hessian.diagonal().any():
            broken.add(source)
    bad = [weight for weight, source in sources.items() if source in broken]
    if bad:
        raise QuantmakeError(
            f"the inputs of {', '.join(bad)} are all zero or not finite over the calibration's "
            "text, so the capture says nothing of them; the base model or the text is broken"
        )


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
