"""What GPTQ needs of the Hessians of a folder's weights."""

from collections.abc import Callable
from typing import Protocol

import torch

from scripts.backends.hessians import Hessians
from scripts.methods.gptq import Factor, Factors, factor

Folded = Callable[[str, torch.Tensor], torch.Tensor]


class GptqSettings(Protocol):
    """`damping` is the share of H's mean diagonal that is added to it; `rounds` counts the
    refinements after the paper's pass."""

    @property
    def damping(self) -> float: ...
    @property
    def rounds(self) -> int: ...
    @property
    def on_unsupported(self) -> str: ...


def factors_of(
    hessians: Hessians,
    sizes: tuple[int, ...],
    damping: float,
    folded: Folded = lambda _, hessian: hessian,
) -> Callable[[str], Factor]:
    """A function from a weight to the factor of its Hessian, as `scripts.methods.gptq.factor` makes
    it; weights that have one Hessian share one. `folded` changes H for a weight, and for all that
    read the same input alike."""
    first = {hessians.source_of(weight): weight for weight in reversed(hessians.seen)}

    def make(source: str) -> Factor:
        weight = first[source]
        return factor(folded(weight, hessians.of(weight)), sizes, damping, weight)

    made = Factors(make)
    return lambda weight: made.of(hessians.source_of(weight))
