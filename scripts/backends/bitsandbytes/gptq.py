"""GPTQ onto bitsandbytes' 4-bit grid; its mathematics are in scripts/calibration/gptq.py.

absmax is searched and put into its stored form first; errors are compensated for against the
values that bitsandbytes will compute with. The frame of the double quantisation then stays, so that
each row can be refined by itself.
"""

from typing import Protocol

import numpy as np
import torch
from bitsandbytes.functional import QuantState, get_4bit_type

from scripts.backends.bitsandbytes.grid import Absmax, LevelColumns, Levels, search
from scripts.backends.bitsandbytes.plan import Plan
from scripts.backends.bitsandbytes.quantise import Method, NotFinite, Quantised, quantise
from scripts.calibration.stored import Captured
from scripts.errors import QuantmakeError
from scripts.methods.gptq import (
    compensate,
    damp,
    descend,
    inverse_factor_order,
    least_squares_scales,
    loss,
)


class Settings(Protocol):
    """`damping` is the share of H's mean diagonal that is added to it; `rounds` counts the
    refinements after the paper's pass."""

    @property
    def quant_type(self) -> str: ...
    @property
    def block_size(self) -> int: ...
    @property
    def double_quant(self) -> bool: ...
    @property
    def damping(self) -> float: ...
    @property
    def rounds(self) -> int: ...
    @property
    def on_misfit(self) -> str: ...


def unseen_of(captured: Captured, plan: Plan) -> list[str]:
    """The weights of a plan whose inputs the capture has not seen."""
    names = sorted(plan.weights)
    return [name for name in names if name.removesuffix(".weight") not in captured.names]


def compensating(captured: Captured, plan: Plan, settings: Settings) -> Method:
    """GPTQ for the weights of a plan; those whose inputs the capture has not seen are rounded to
    nearest where `on_misfit` is `rtn`.

    Raises QuantmakeError that names these otherwise, and every weight with a Hessian that is all
    zero or not finite.
    """
    names = {weight: weight.removesuffix(".weight") for weight in sorted(plan.weights)}
    unseen = unseen_of(captured, plan)
    if unseen and settings.on_misfit == "error":
        raise QuantmakeError(
            f"the capture has not seen the inputs of {len(unseen)} weights: {', '.join(unseen)}. "
            "Give the calibration more tokens (`calibration.tokens` in the recipe), or set "
            "on_misfit to rtn."
        )
    _refuse_unusable(captured, {weight: names[weight] for weight in names if weight not in unseen})

    def method(name: str, weight: torch.Tensor) -> Quantised:
        if name in unseen:
            return quantise(weight, settings)
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

    return method


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


def gptq(weight: torch.Tensor, hessian: torch.Tensor, settings: Settings) -> Quantised:
    """Packed codes uint8 [N · K / 2, 1] and their state for a weight [N, K] and H float32 [K, K].

    Raises torch.linalg.LinAlgError where the damped H is not positive definite.
    """
    values, size, levels = weight.float(), settings.block_size, Levels.of(settings.quant_type)
    damped = damp(hessian, settings.damping)
    order, factor = inverse_factor_order(damped)
    blocks = torch.arange(values.shape[1]) // size
    absmax = Absmax.of(search(values, damped.diagonal(), size, levels), settings.double_quant)
    columns = LevelColumns.of(absmax.values, blocks[order], levels)
    chosen = compensate(values, order, factor, columns)
    best = loss(values, chosen * absmax.values[:, blocks], damped)
    for _ in range(settings.rounds):
        wanted = least_squares_scales(values, chosen, size, damped)
        refit = absmax.refitted(wanted)
        columns = LevelColumns.of(refit.values, blocks, levels)
        moved = descend(values, chosen, columns, damped)
        now = loss(values, moved * refit.values[:, blocks], damped)
        # Row by row: absmax that had to be rounded to 8 bits may make one row worse.
        better = (now < best)[:, None]
        chosen = torch.where(better, moved, chosen)
        absmax = absmax.in_rows(better, refit)
        best = torch.minimum(best, now)
    state = QuantState(
        absmax=absmax.stored.reshape(-1),
        shape=weight.shape,
        dtype=weight.dtype,
        blocksize=size,
        code=get_4bit_type(settings.quant_type, device="cpu"),
        quant_type=settings.quant_type,
        offset=absmax.frame.offset if absmax.frame else None,
        state2=absmax.frame.state if absmax.frame else None,
    )
    return levels.pack(chosen), state
