"""How bitsandbytes stores a quantised weight: packed values beside its quantisation state."""

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from bitsandbytes.functional import QuantState

from scripts.backends.bitsandbytes.plan import Plan
from scripts.backends.shards import Parts, Work
from scripts.checkpoint import Checkpoints

Quantised = tuple[torch.Tensor, QuantState]


class Settings(Protocol):
    """What every kernel needs to know."""

    @property
    def quant_type(self) -> str: ...
    @property
    def block_size(self) -> int: ...
    @property
    def double_quant(self) -> bool: ...


def work_of(
    plan: Plan,
    kernel: Callable[[str, torch.Tensor], Quantised],
    checkpoints: Checkpoints,
    unsupported: Mapping[str, str] | None = None,
) -> Work:
    """The weights of a plan by a kernel, which is given each of them as [out, in]."""

    def parts(name: str, tensor: torch.Tensor) -> Parts:
        packed, state = kernel(name, tensor.T if name in plan.transposed else tensor)
        stored = state.as_dict(packed=True)
        return {name: packed, **{f"{name}.{key}": value for key, value in stored.items()}}

    return Work(plan.weights, parts, checkpoints, unsupported or {})
