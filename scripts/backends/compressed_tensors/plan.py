"""Which weights to quantise: those that llm-compressor would, found on the meta device."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from scripts.base.skeleton import Skeleton, skeleton
from scripts.errors import QuantmakeError

_WIDE = 32  # a stack of matrices has at least so many rows and columns; a convolution's are fewer
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


def plan(base: Path, divisor: int, what: str) -> Plan:
    """Look at the model of `base` without its weights.

    Raises QuantmakeError for a model without linear layers, or with experts in stacked tensors, and
    one that names every weight whose width the `divisor` does not divide; `what` sets it.
    """
    # The base holds Python code only where the recipe trusts it.
    bare = skeleton(base, trust=any(base.glob("*.py")))
    family = type(bare.model).__name__
    _refuse_stacked(bare, family)
    linears = {n: m for n, m in bare.model.named_modules() if isinstance(m, nn.Linear)}
    ignored = _heads_and_routers(bare.model)
    chosen = {name: linear for name, linear in linears.items() if name not in ignored}
    if not chosen:
        raise QuantmakeError(
            f"{family} has no linear layer that compressed-tensors can quantise; {_TAKE_OUT}"
        )
    shapes = {f"{n}.weight": (one.out_features, one.in_features) for n, one in chosen.items()}
    offenders = [f"{name} ({width} wide)" for name, (_, width) in shapes.items() if width % divisor]
    if offenders:
        raise QuantmakeError(
            f"{what} does not divide the rows of {len(offenders)} weights: "
            f"{', '.join(offenders)}. {_advice(shapes)}"
        )
    return Plan(shapes, tuple(name for name in linears if name in ignored))


def _advice(shapes: dict[str, tuple[int, int]]) -> str:
    fits = [size for size in (64, 32) if not any(width % size for _, width in shapes.values())]
    if fits:
        return f"Set group_size to {fits[0]}, which divides all of this model."
    return "No group divides all of this model: take W8A8 or FP8_DYNAMIC, which have none."


def _heads_and_routers(model: nn.Module) -> set[str]:
    """Names of linears: the head, and what stands beside `experts` in one module, such as a gate.
    vLLM computes these in floating point."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    names = set()
    for name, module in model.named_modules():
        if module is head:
            names.add(name)
        if isinstance(getattr(module, "experts", None), nn.Module):
            own = module.named_children()
            names |= {f"{name}.{child}" for child, one in own if isinstance(one, nn.Linear)}
    return names


def _refuse_stacked(bare: Skeleton, family: str) -> None:
    """Raise QuantmakeError that names experts which are one tensor of three dimensions."""
    stacked = [
        name
        for name, shape in bare.shapes.items()
        if len(shape) == 3 and min(shape[1:]) >= _WIDE  # [experts, rows, columns]
    ]
    if stacked:
        raise QuantmakeError(
            f"{family} has its experts in {len(stacked)} stacked tensors ({', '.join(stacked)}), "
            "for which this format has no layout that transformers loads; most of the model would "
            f"stay in FP16. GGUF quantises experts: {_TAKE_OUT}."
        )
