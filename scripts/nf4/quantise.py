"""From FP16 shards to shards of 4-bit weights with their quantisation states."""

from pathlib import Path
from typing import Protocol

import torch
from bitsandbytes.functional import QuantState, quantize_4bit, quantize_blockwise
from safetensors import safe_open
from safetensors.torch import save_file

from scripts.errors import QuantmakeError
from scripts.nf4.plan import Plan
from scripts.progress import Progress
from scripts.threads import one_thread


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


def quantise(weight: torch.Tensor, settings: Settings) -> tuple[torch.Tensor, QuantState]:
    """As bitsandbytes' quantize_4bit(compress_statistics=double_quant), for any thread count.

    `weight` is [out, in]; the packed values are uint8 [out · in / 2, 1], the first of each pair
    in the high nibble. The mean of the scales, which double quantisation takes off them, depends
    on the number of threads in its last bit for large weights: it is taken on one.
    """
    packed, state = quantize_4bit(
        weight.contiguous(), blocksize=settings.block_size, quant_type=settings.quant_type
    )
    if settings.double_quant:
        with one_thread():
            state.offset = state.absmax.mean()
            state.absmax, state.state2 = quantize_blockwise(
                state.absmax - state.offset, blocksize=256
            )
        state.nested = True
    return packed, state


def quantise_shard(
    shard: Path, out: Path, plan: Plan, settings: Settings, bar: Progress
) -> dict[str, int]:
    """Write one shard with its linears quantised; return each tensor's size in bytes."""
    tensors: dict[str, torch.Tensor] = {}
    with safe_open(shard, "pt") as weights:
        for name in sorted(weights.keys()):
            tensor = weights.get_tensor(name)
            bar.advance()
            if name not in plan.weights:
                tensors[name] = tensor
                continue
            packed, state = quantise(tensor.T if name in plan.transposed else tensor, settings)
            tensors[name] = packed
            for part, value in state.as_dict(packed=True).items():
                tensors[f"{name}.{part}"] = value.contiguous()
    save_file(tensors, out, metadata={"format": "pt"})
    out.chmod(0o644)  # save_file leaves the file to its owner alone
    return {name: tensor.numel() * tensor.element_size() for name, tensor in tensors.items()}
