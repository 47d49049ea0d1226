"""From FP16 shards to shards of 4-bit weights with their quantisation states."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from bitsandbytes.functional import QuantState
from safetensors import safe_open

from scripts.backends.bitsandbytes.plan import Plan
from scripts.checkpoint import Checkpoints
from scripts.errors import QuantmakeError
from scripts.progress import Progress
from scripts.tensors.finite import is_finite
from scripts.tensors.header import read_header
from scripts.tensors.spill import Spill

Quantised = tuple[torch.Tensor, QuantState]
# Packed values and their state for a name and its weight [out, in].
Kernel = Callable[[str, torch.Tensor], Quantised]


class NotFinite(ValueError):
    """A tensor holds NaN or infinity."""


class Settings(Protocol):
    """What every kernel needs to know."""

    @property
    def quant_type(self) -> str: ...
    @property
    def block_size(self) -> int: ...
    @property
    def double_quant(self) -> bool: ...


def bytes_in(shard: Path) -> dict[str, int]:
    """The tensors of one safetensors file, sorted, with their sizes."""
    return {name: tensor.size for name, tensor in sorted(read_header(shard).items())}


def refuse_missing(shards: list[Path], plan: Plan) -> None:
    """Raise QuantmakeError that names every linear without a tensor."""
    missing = set(plan.weights).difference(*map(bytes_in, shards))
    if missing:
        raise QuantmakeError(
            f"the base has no tensors {', '.join(sorted(missing))}, which its config.json calls "
            "for; build it again (doit base)"
        )


def refuse_broken(bad: list[str]) -> None:
    """Raise QuantmakeError that names the tensors `bad`, which are not finite; none is fine."""
    if bad:
        raise QuantmakeError(
            f"the base has NaN or infinity in {', '.join(sorted(bad))}; a quantised model of it "
            "would answer nonsense. Mend the source model."
        )


def bytes_needed(shards: list[Path], plan: Plan) -> int:
    """About what the output takes on the disk, with what waits while a shard is written."""
    sizes = []
    for shard in shards:
        parts = bytes_in(shard).items()
        sizes.append(sum(n * (0.285 if name in plan.weights else 1) for name, n in parts))
    return int(sum(sizes) + max(sizes, default=0))


@dataclass(frozen=True)
class Work:
    """How the weights of a plan are quantised; results are kept in `checkpoints` where asked.

    `unsupported` says what becomes of each weight that the method does not support.
    """

    plan: Plan
    kernel: Kernel
    checkpoints: Checkpoints
    unsupported: Mapping[str, str] = field(default_factory=dict)


def quantise_shard(
    shard: Path, out: Path, work: Work, pool: ThreadPoolExecutor, bar: Progress
) -> tuple[dict[str, int], list[str]]:
    """Write one shard with its linears quantised, a tensor for each worker in memory.

    Returns each tensor's size in bytes, and the tensors of the base that are not finite.
    """
    with Spill(out.parent) as spill:

        def make(name: str) -> str | None:
            with safe_open(shard, "pt") as weights:
                tensor = weights.get_tensor(name)
            try:
                if name in work.plan.weights:
                    parts = work.checkpoints.result(name, partial(_packed, name, tensor, work))
                else:
                    parts = _as_it_is(name, tensor)
                spill.add(parts)
            except NotFinite:
                return name
            return None

        bad = []
        sizes = bytes_in(shard)
        for size, broken in zip(sizes.values(), pool.map(make, sizes), strict=True):
            bad += [broken] if broken else []
            bar.advance(size)
        if not bad:
            spill.save(out, {"format": "pt"})
        return spill.sizes(), bad


def _as_it_is(name: str, tensor: torch.Tensor) -> Mapping[str, torch.Tensor]:
    """A tensor that stays in FP16. Raises NotFinite."""
    if not is_finite(tensor):
        raise NotFinite
    return {name: tensor}


def _packed(name: str, tensor: torch.Tensor, work: Work) -> Mapping[str, torch.Tensor]:
    """What the file holds for a linear of the base, by name. Raises NotFinite."""
    packed, state = work.kernel(name, tensor.T if name in work.plan.transposed else tensor)
    return {name: packed, **{f"{name}.{k}": v for k, v in state.as_dict(packed=True).items()}}
