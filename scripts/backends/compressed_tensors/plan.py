"""Which weights to quantise: those that llm-compressor would, found on the meta device."""

from dataclasses import dataclass
from pathlib import Path

from scripts.base.skeleton import Skeleton, skeleton
from scripts.errors import QuantmakeError

_OF_EXPERTS = ("W4A16", "W8A16", "FP8_DYNAMIC")
"""Schemes whose experts transformers stacks as it loads them; of others it gives an error, or other
values (integrations/compressed_tensors.py)."""
_TAKE_OUT = "take the artefacts with `format: compressed-tensors` out of the recipe"


@dataclass(frozen=True)
class Plan:
    """The weights to quantise with their shapes, [out, in], and the linears that stay as they
    are: the head, and what routes tokens to experts."""

    shapes: dict[str, tuple[int, int]]
    ignored: tuple[str, ...]

    @property
    def weights(self) -> frozenset[str]:
        """Their names."""
        return frozenset(self.shapes)


def plan(base: Path, scheme: str, divisor: int, what: str) -> Plan:
    """Look at the model of `base` without its weights.

    Raises QuantmakeError for a model without linear layers, or with experts in stacked tensors, and
    one that names every weight whose width the `divisor` does not divide; `what` sets it.
    """
    # The base holds Python code only where the recipe trusts it.
    bare = skeleton(base, trust=any(base.glob("*.py")))
    family = type(bare.model).__name__
    _refuse_stacked(bare, family, scheme)
    head = bare.model.get_output_embeddings()
    own = {name for name, one in bare.model.named_modules() if one is head}
    heads = own | {bare.published(name) for name in own}  # each tool looks for its own name
    linears, routers = bare.linears(), bare.routers()
    # vLLM computes the head and the routers in floating point.
    chosen = {name: one for name, one in linears.items() if name not in heads | routers}
    if not chosen:
        raise QuantmakeError(
            f"{family} has no linear layer that compressed-tensors can quantise; {_TAKE_OUT}"
        )
    shapes = {f"{name}.weight": shape for name, shape in chosen.items()}
    offenders = [f"{name} ({width} wide)" for name, (_, width) in shapes.items() if width % divisor]
    if offenders:
        raise QuantmakeError(
            f"{what} does not divide the rows of {len(offenders)} weights: "
            f"{', '.join(offenders)}. {_advice(shapes)}"
        )
    return Plan(shapes, (*sorted(routers), *sorted(heads)))


def _advice(shapes: dict[str, tuple[int, int]]) -> str:
    fits = [size for size in (64, 32) if not any(width % size for _, width in shapes.values())]
    if fits:
        return f"Set group_size to {fits[0]}, which divides all of this model."
    return "No group divides all of this model: take W8A8 or FP8_DYNAMIC, which have none."


def _refuse_stacked(bare: Skeleton, family: str, scheme: str) -> None:
    """Raise QuantmakeError that names experts which are one tensor of three dimensions, in files,
    or in transformers where it does not stack those of this scheme."""
    if in_files := bare.stacked_in_files():
        raise QuantmakeError(
            f"{family} has its experts in {len(in_files)} stacked tensors ({', '.join(in_files)}), "
            "for which this format has no layout that transformers loads; most of the model would "
            f"stay in FP16. GGUF quantises experts: {_TAKE_OUT}."
        )
    if (stacked := bare.stacked()) and scheme not in _OF_EXPERTS:
        raise QuantmakeError(
            f"transformers holds the experts of {family} in stacked tensors "
            f"({', '.join(stacked)}), which it does not load from {scheme}. "
            f"Take {', '.join(_OF_EXPERTS)}."
        )
