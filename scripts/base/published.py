"""What files of weights call and stack otherwise than transformers' models do.

Version 5 holds the experts of a layer in one tensor and has renamed parts of some families; files
keep the names and shapes that they were published with. The base is such a folder, so that each
tool of others reads it. The table of what is what is transformers' own (conversion_mapping.py).
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    dot_natural_key,
    rename_source_key,
    revert_weight_conversion,
)


def published_shapes(model: Any, left_out: frozenset[str]) -> dict[str, tuple[int, ...]]:
    """By the names of files the shapes of a model's tensors, without those that are `left_out`, by
    the model's own names."""
    state = {
        name: tensor.detach().to("meta")
        for name, tensor in model.state_dict().items()
        if name not in left_out
    }
    reverted: dict[str, torch.Tensor] = revert_weight_conversion(model, state)
    return {name: tuple(tensor.shape) for name, tensor in reverted.items()}


@dataclass
class _Group:
    """The tensors of files that become one or several of the model, by the converter's patterns."""

    converter: WeightConverter | None
    first: str
    members: list[tuple[str, str]] = field(default_factory=list)

    def made_of(self, files: Mapping[str, torch.Tensor], model: Any) -> dict[str, torch.Tensor]:
        """Under the model's names."""
        if self.converter is None:
            return {self.first: files[self.members[0][1]]}
        converter: Any = copy.deepcopy(self.converter)
        for pattern, name in self.members:
            converter.add_tensor(self.first, name, pattern, files[name])
        made = converter.convert(self.first, model=model, config=model.config)
        return {name: one[0] if isinstance(one, list) else one for name, one in made.items()}


class Converted(Mapping[str, torch.Tensor]):
    """The tensors of files under the names and in the shapes of `model`, stacked when asked for."""

    def __init__(self, model: Any, files: Mapping[str, torch.Tensor]) -> None:
        self._model, self._files = model, files
        self._groups = _groups(model, files)

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._groups[name].made_of(self._files, self._model)[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._groups)

    def __len__(self) -> int:
        return len(self._groups)

    def files_of(self, name: str) -> tuple[str, ...]:
        """The tensors of files that one of the model's is made of, pattern by pattern."""
        group = self._groups[name]
        order = group.converter.source_patterns if group.converter else [""]
        return tuple(
            member for wanted in order for pattern, member in group.members if pattern == wanted
        )


def _groups(model: Any, files: Mapping[str, torch.Tensor]) -> dict[str, _Group]:
    """By the model's names."""
    transforms = get_model_conversion_mapping(model, add_legacy=False)
    renamings = [one for one in transforms if isinstance(one, WeightRenaming)]
    converters = [one for one in transforms if isinstance(one, WeightConverter)]
    by_pattern = {pattern: one for one in converters for pattern in one.source_patterns}
    known = model.state_dict()
    groups: dict[str, _Group] = {}
    for name in sorted(files, key=dot_natural_key):
        ours, pattern = rename_source_key(
            name, renamings, converters, model.base_model_prefix, known
        )
        if ours not in known and name in known:
            ours, pattern = name, None
        converter = by_pattern[pattern] if pattern is not None else None
        groups.setdefault(ours, _Group(converter, ours)).members.append((pattern or "", name))
    outlines = {name: torch.empty(tensor.shape, device="meta") for name, tensor in files.items()}
    return {
        made: group
        for group in groups.values()
        for made in (group.made_of(outlines, model) if group.converter else [group.first])
    }


_SUFFIX = ".weight"
_GATE_UP, _DOWN = ".gate_up_proj", ".down_proj"


def published_modules(tensors: Converted) -> dict[str, str]:
    """By the model's names of its modules, and of each expert's in a stack (`experts.3.gate_proj`),
    what files call them."""
    names: dict[str, str] = {}
    for own in tensors:
        files = [name.removesuffix(_SUFFIX) for name in tensors.files_of(own)]
        if own.endswith((_GATE_UP, _DOWN)) and len(files) > 1:
            stack, _, kind = own.rpartition(".")
            kinds = ("gate_proj", "up_proj") if own.endswith(_GATE_UP) else (kind,)
            count = len(files) // len(kinds)
            parts = [files[at * count : (at + 1) * count] for at in range(len(kinds))]
            for kind_of, part in zip(kinds, parts, strict=True):
                names |= {f"{stack}.{number}.{kind_of}": name for number, name in enumerate(part)}
        elif len(files) == 1:
            names[own.removesuffix(_SUFFIX)] = files[0]
    return names
