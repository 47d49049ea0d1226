"""What a stage will need of the machine, said before it runs."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

IN_NO_KEY = "it says what a stage will need, and makes no bytes"

_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|blk)\.(\d+)\.")
# A block's last linear reads an input of its own; the other linears beside it share one.
_LAST = re.compile(r"(o|out|down|c)_proj|wo|w2|dense(_4h_to_h)?|fc2|output|down(_exps)?")


@dataclass(frozen=True)
class Forecast:
    """`memory`: bytes that the stage's processes have for themselves, mapped files aside.

    `disk`: bytes that it writes. `about` is for the stages that read what it makes, so that they
    can say theirs before it is there; the engine hands it on and does not look at it.
    """

    memory: int
    disk: int
    about: Any = None


Inputs = Mapping[str, Forecast | None]
"""The forecasts of a stage's inputs by name; None where nothing is known of one."""


@dataclass(frozen=True)
class Outline:
    """Counts of values: of all tensors, of those of the decoder layers, of the largest layer and
    of the largest tensor; of the largest Hessian of a linear's inputs, of those of the layer with
    the most, and of all layers, where each expert has its own. `rows` are the vocabulary's,
    `shapes` those of all tensors by name. `model_type` and `architectures` are config.json's, where
    there is one.
    """

    values: int
    layered: int
    layers: int
    layer: int
    largest: int
    rows: int
    hessian: int
    hessians: int
    all_hessians: int
    shapes: Mapping[str, tuple[int, ...]]
    model_type: str = ""
    architectures: tuple[str, ...] = ()

    @classmethod
    def of(cls, shapes: Mapping[str, tuple[int, ...]]) -> "Outline":
        """Shapes are [rows, columns], or [experts, rows, columns], by name."""
        sizes = {name: prod(shape) for name, shape in shapes.items()}
        values: dict[str, int] = defaultdict(int)
        inputs: dict[str, dict[tuple[str, bool], int]] = defaultdict(dict)
        largest_hessian = 0
        for name, shape in shapes.items():
            if layer := _LAYER.search(name):
                values[layer[1]] += sizes[name]
                if len(shape) > 1:
                    read, hessian = _input_of(name), shape[-1] ** 2
                    of_layer = inputs[layer[1]]
                    of_layer[read] = max(of_layer.get(read, 0), prod(shape[:-2]) * hessian)
                    largest_hessian = max(largest_hessian, hessian)
        outside = [shape for name, shape in shapes.items() if not _LAYER.search(name)]
        hessians = [sum(of_layer.values()) for of_layer in inputs.values()]
        return cls(
            values=sum(sizes.values()),
            layered=sum(values.values()),
            layers=len(values),
            layer=max(values.values(), default=0),
            largest=max(sizes.values(), default=0),
            rows=max(map(max, outside), default=0),
            hessian=largest_hessian,
            hessians=max(hessians, default=0),
            all_hessians=sum(hessians),
            shapes=dict(shapes),
        )

    @staticmethod
    def is_layered(name: str) -> bool:
        """Whether a tensor is of a decoder layer."""
        return _LAYER.search(name) is not None


def _input_of(name: str) -> tuple[str, bool]:
    """The same for the linears of a layer that read the same input: q, k and v, or gate and up."""
    block, _, linear = name.removesuffix(".weight").rpartition(".")
    for part in ("attn", "ffn"):  # GGUF: blk.0.attn_q.weight
        if linear.startswith(f"{part}_"):
            block, linear = f"{block}.{part}", linear.removeprefix(f"{part}_")
    return block, _LAST.fullmatch(linear) is not None
