"""What is quantised with how many bits, by mlx-lm's names, found on the meta device."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from scripts.backends.mlx.families import Family, family_of
from scripts.backends.mlx.packing import GROUPS
from scripts.base.skeleton import Skeleton, skeleton
from scripts.errors import QuantmakeError, RecipeError
from scripts.tensors.header import tensors_in

_WEIGHT = ".weight"


class Settings(Protocol):
    """The options that say which module has how many bits."""

    @property
    def bits(self) -> int: ...
    @property
    def group_size(self) -> int: ...
    @property
    def head_bits(self) -> int: ...
    @property
    def overrides(self) -> Mapping[str, int]: ...


@dataclass(frozen=True)
class Module:
    """A linear or an embedding by mlx-lm's name. `weights` are the base's tensors, [rows, columns]
    each; several are those of a layer's experts, in order. `is_head`: it gives the logits, or is
    the embedding."""

    name: str
    weights: tuple[str, ...]
    rows: int
    columns: int
    bits: int
    is_head: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the stored codes, less their last dimension."""
        return (self.rows,) if len(self.weights) == 1 else (len(self.weights), self.rows)


@dataclass(frozen=True)
class Plan:
    """The modules to quantise, and the base's other tensors, which stay as they are."""

    modules: tuple[Module, ...]
    floats: tuple[str, ...]
    group: int

    def by_method(self) -> list[str]:
        """The base's weights that a method chooses the codes of: all but the head's."""
        return [weight for one in self.modules if not one.is_head for weight in one.weights]


def plan(base: Path, settings: Settings) -> Plan:
    """Look at the model of `base` without its weights.

    Raises QuantmakeError for a family that mlx-lm does not have, and one that names every weight
    whose width the group does not divide; RecipeError for overrides that are of no module.
    """
    family = family_of(base)
    # The base holds Python code only where the recipe trusts it.
    bare = skeleton(base, trust=any(base.glob("*.py")))
    heads, stacks = _heads(bare), _stacks(bare, family)
    _refuse_unfit(bare, stacks, settings.group_size)
    _refuse_idle(settings.overrides, [name for names in stacks.values() for name in names])
    modules = tuple(
        Module(
            name=name,
            weights=tuple(f"{one}{_WEIGHT}" for one in hub_names),
            rows=bare.shapes[hub_names[0] + _WEIGHT][0],
            columns=bare.shapes[hub_names[0] + _WEIGHT][1],
            bits=_bits_of(hub_names[0], settings, is_head=hub_names[0] in heads),
            is_head=hub_names[0] in heads,
        )
        for name, hub_names in stacks.items()
    )
    chosen = {weight for one in modules for weight in one.weights}
    floats = tuple(name for name in tensors_in(base) if name not in chosen)
    return Plan(modules, floats, settings.group_size)


def _stacks(bare: Skeleton, family: Family) -> dict[str, list[str]]:
    """The base's modules to quantise, by mlx-lm's names."""
    stacks: dict[str, list[str]] = {}
    for name in _quantised(bare):
        stacks.setdefault(family.module(name), []).append(name)
    return stacks


def _quantised(bare: Skeleton) -> Iterator[str]:
    """The embedding and linears, less a tied head, which is stored once, and what routes tokens to
    experts."""
    routers, linears = bare.routers(), bare.linears()
    embedding = bare.model.get_input_embeddings()
    names = {bare.published(n) for n, one in bare.model.named_modules() if one is embedding}
    for stored in bare.shapes:
        name = stored.removesuffix(_WEIGHT)
        if (name in linears or name in names) and name not in routers:
            yield name


def _heads(bare: Skeleton) -> set[str]:
    ends = (bare.model.get_input_embeddings(), bare.model.get_output_embeddings())
    return {bare.published(name) for name, one in bare.model.named_modules() if one in ends}


def _bits_of(name: str, settings: Settings, *, is_head: bool) -> int:
    """The last override that fits counts."""
    bits = settings.head_bits if is_head else settings.bits
    for part, other in settings.overrides.items():
        bits = other if part in name else bits
    return bits


def _refuse_unfit(bare: Skeleton, stacks: Mapping[str, list[str]], group: int) -> None:
    widths = {
        f"{name}{_WEIGHT}": bare.shapes[f"{name}{_WEIGHT}"][1]
        for names in stacks.values()
        for name in names
    }
    bad = [f"{name} ({width} wide)" for name, width in widths.items() if width % group]
    if not bad:
        return
    fits = [str(size) for size in GROUPS if not any(width % size for width in widths.values())]
    advice = (
        f"Set group_size to {' or '.join(fits)}, which divides all of this model."
        if fits
        else "MLX has no group that divides all of this model; take the artefacts with "
        "`format: mlx` out of the recipe."
    )
    raise QuantmakeError(
        f"group_size {group} does not divide the rows of {len(bad)} weights: {', '.join(bad)}. "
        f"{advice}"
    )


def _refuse_idle(overrides: Mapping[str, int], names: list[str]) -> None:
    idle = [part for part in overrides if not any(part in name for name in names)]
    if idle:
        raise RecipeError(
            f"overrides: no module's name has {', '.join(map(repr, idle))} in it. Names are such "
            f"as {', '.join(sorted(names)[:3])}."
        )
