"""A case of the tests that build a format with each of its choices."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from scripts.backends.format import Format, all_formats

Selection = Mapping[str, Any]


@cache
def choices(format: str) -> dict[str, tuple[type[Format], Selection]]:
    """The classes of a format's choices and what selects them, by `BITS-METHOD`."""
    return {
        f"{selection['bits']}-{selection['method']}": (kind, selection)
        for kind in all_formats()
        for selection in kind.selections()
        if selection["format"] == format
    }


@dataclass(frozen=True)
class Case:
    """A choice of a format with options, the most KLD it may cost, and the counts of its types (of
    ONNX, its operators)."""

    format: str
    name: str
    most: float
    types: Mapping[str, int]
    options: Mapping[str, Any] = field(default_factory=dict)

    def stage(self) -> Format:
        """The format with its options."""
        kind, selection = choices(self.format)[self.name]
        return kind.model_validate({**selection, **self.options})

    def __str__(self) -> str:
        return "-".join([self.name, *(f"{key}={value}" for key, value in self.options.items())])
