"""From FP16 shards to shards of 4-bit weights with their quantisation states."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import torch
from bitsandbytes.functional import QuantState, quantize_4bit
from safetensors import safe_open
from safetensors.torch import save_file

from scripts.errors import QuantmakeError
from scripts.nf4.grid import Frame
from scripts.nf4.plan import Plan
from scripts.progress import Progress

Quantised = tuple[torch.Tensor, QuantState]
# Packed values and their state for a name and its weight [out, in].
Method = Callable[[str, torch.Tensor], Quantised]


class Settings(Protocol):
    """What the kernel needs to know."""

    @property
    def quant_type(self) -> str: ...
    @property
    def block_size(self) -> int: ...
    @property
    def double_quant(self) -> bool: ...


def names_in(shard: Path) -> list[str]:
    """The tensors of one safetensors file, sorted."""
    with safe_open(shard, "pt") as weights:
        return sorted(weights.keys())


def refuse_unusable(shards: list[Path], plan: Plan) -> None:
    """Raise QuantmakeError that names every missing linear, and every NaN or infinity."""
    bad: list[str] = []
    missing = set(plan.weights)
    for shard in shards:
        with safe_open(shard, "pt") as weights:
            for name in sorted(weights.keys()):
                if not bool(torch.isfinite(weights.get_tensor(name)).all()):
                    bad.append(name)
                missing.discard(name)
    if missing:
        raise QuantmakeError(
            f"the base has no tensors {', '.join(sorted(missing))}, which its config.json calls "
            "for; build it again (doit base)"
        )
    if bad:
        raise QuantmakeError(
            f"the base has NaN or infinity in {', '.join(sorted(bad))}; a quantised model of it "
            "would answer nonsense. Mend the source model."
        )


def quantise(weight: torch.Tensor, settings: Settings) -> Quantised:
    """As bitsandbytes' quantize_4bit(compress_statistics=double_quant), for any thread count.

    `weight` is [out, in]; the packed values are uint8 [out · in / 2, 1], the first of each pair
    in the high nibble.
    """
    packed, state = quantize_4bit(
        weight.contiguous(), blocksize=settings.block_size, quant_type=settings.quant_type
    )
    if settings.double_quant:
        frame, state.absmax = Frame.of(state.absmax)
        state.offset, state.state2, state.nested = frame.offset, frame.state, True
    return packed, state


def quantise_shard(
    shard: Path, out: Path, plan: Plan, method: Method, pool: ThreadPoolExecutor, bar: Progress
) -> dict[str, int]:
    """Write one shard with its linears quantised; return each tensor's size in bytes."""

    def made(name: str) -> dict[str, torch.Tensor]:
        with safe_open(shard, "pt") as weights:
            tensor = weights.get_tensor(name)
        if name not in plan.weights:
            return {name: tensor}
        packed, state = method(name, tensor.T if name in plan.transposed else tensor)
        parts = state.as_dict(packed=True).items()
        return {name: packed, **{f"{name}.{part}": value.contiguous() for part, value in parts}}

    tensors: dict[str, torch.Tensor] = {}
    for found in pool.map(made, names_in(shard)):
        tensors.update(found)
        bar.advance()
    save_file(tensors, out, metadata={"format": "pt"})
    out.chmod(0o644)  # save_file leaves the file to its owner alone
    return {name: tensor.numel() * tensor.element_size() for name, tensor in tensors.items()}
