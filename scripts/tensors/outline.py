"""The sizes of a model, from the headers of its files alone: what forecasts are made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from re import compile as pattern

from scripts.errors import QuantmakeError
from scripts.forecast import Forecast, Inputs

IN_NO_KEY = "it says what a stage will need, and makes no bytes"

_LAYER = pattern(r"(?:^|\.)(?:layers|h|blocks|blk)\.(\d+)\.")


@dataclass(frozen=True)
class Outline:
    """Counts of values: of all tensors, of those of the decoder layers, of the greatest layer and
    of the greatest tensor; and the narrowest and the widest input of a linear, in columns.
    """

    values: int
    layered: int
    layers: int
    layer: int
    largest: int
    rows: int
    narrow: int
    wide: int

    @classmethod
    def of(cls, shapes: Mapping[str, tuple[int, ...]]) -> "Outline":
        """Shapes are [rows, columns], by name."""
        sizes = {name: prod(shape) for name, shape in shapes.items()}
        per_layer: dict[int, int] = {}
        for name, size in sizes.items():
            if found := _LAYER.search(name):
                per_layer[int(found[1])] = per_layer.get(int(found[1]), 0) + size
        greatest = max(sizes, key=sizes.__getitem__, default="")
        columns = [
            shape[-1] for name, shape in shapes.items() if len(shape) == 2 and _LAYER.search(name)
        ]
        return cls(
            values=sum(sizes.values()),
            layered=sum(per_layer.values()),
            layers=len(per_layer),
            layer=max(per_layer.values(), default=0),
            largest=sizes.get(greatest, 0),
            rows=max(shapes.get(greatest, (0,))),
            narrow=min(columns, default=0),
            wide=max(columns, default=0),
        )

    @property
    def hessians(self) -> int:
        """Values in the Hessians of one layer: of the inputs of qkv, o, gate and up, and down."""
        return 3 * self.narrow**2 + self.wide**2


def outline_of(folder: Path) -> Outline | None:
    """Of a folder with safetensors or one GGUF file; None where there is none that can be read."""
    # Here: a graph is drawn without them.
    from scripts.tensors.gguf_header import tensors_of
    from scripts.tensors.header import tensors_in

    try:
        shapes = {name: tensor.shape for name, tensor in tensors_in(folder).items()}
        ggufs = list(folder.glob("*.gguf"))
        if not shapes and len(ggufs) == 1:
            shapes = {name: tensor.shape for name, tensor in tensors_of(ggufs[0]).items()}
    except (OSError, QuantmakeError):
        return None  # whoever reads it in earnest says what is wrong
    return Outline.of(shapes) if shapes else None


def outline_in(inputs: Inputs) -> Outline | None:
    """What one of the inputs tells of the model."""
    told = (said.about for said in inputs.values() if said is not None)
    return next((about for about in told if isinstance(about, Outline)), None)


@dataclass(frozen=True)
class Memory:
    """Bytes of memory: some in any case, and some for each value of the greatest tensor, of the
    greatest layer, of the Hessians of a layer and of all layers, and of all tensors.
    """

    fixed: float = 0.5e9
    largest: float = 0
    layer: float = 0
    hessian: float = 0
    all_hessians: float = 0
    value: float = 0

    def of(self, outline: Outline) -> float:
        """For a model."""
        return (
            self.fixed
            + self.largest * outline.largest
            + self.layer * outline.layer
            + (self.hessian + self.all_hessians * outline.layers) * outline.hessians
            + self.value * outline.values
        )


def forecast(
    inputs: Inputs,
    memory: Memory,
    disk: float = 0,
    disk_of_others: float | None = None,
    of_hessians: float = 0,
) -> Forecast | None:
    """`disk`: bytes written for each value of the layers, and of what lies outside of them where
    that is not another number, and for each of all Hessians. None where the model is not known.
    """
    outline = outline_in(inputs)
    if outline is None:
        return None
    outside = disk if disk_of_others is None else disk_of_others
    written = (
        of_hessians * outline.hessians * outline.layers
        + disk * outline.layered
        + outside * (outline.values - outline.layered)
    )
    return Forecast(int(memory.of(outline)), int(written), outline)
