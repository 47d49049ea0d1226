"""How each scheme stores a weight, as llm-compressor does: names, types and shapes of its parts.

Layouts: compressed_tensors/compressors of the package; a weight `w.weight` [N, K] becomes parts
such as `w.weight_packed` and `w.weight_scale`. Scales have the base's type, FP16.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeAlias

import numpy as np
import torch
from compressed_tensors.compressors.nvfp4.helpers import pack_fp4_to_uint8
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32

from scripts.methods import float_grid, integer_grid
from scripts.methods.block_grid import BlockGrid, Coded, Storage
from scripts.methods.float_grid import E2M1, E4M3, FloatGrid
from scripts.methods.integer_grid import GridOptions, IntegerGrid, storable

Grid: TypeAlias = IntegerGrid | FloatGrid
Expected = Mapping[str, tuple[str, tuple[int, ...]]]
"""Of each part, by the last word of its name: its type in safetensors, and its shape."""

_MIN_E4M3 = 2.0**-9  # the smallest above zero
_WORD = 32  # bits


class Layout(Protocol):
    """`format` is compressed-tensors' name of it, `divisor` what has to divide each width."""

    @property
    def format(self) -> str: ...
    @property
    def divisor(self) -> int: ...

    def grid(self, name: str, weight: torch.Tensor, importance: torch.Tensor) -> Grid:
        """The grid that suits a weight [N, K] best, its columns weighed by importance [K]."""

    def blocks(self, columns: int) -> BlockGrid:
        """What GPTQ rounds a weight of so many columns to."""

    def coded(self, name: str, rows: int, columns: int) -> Coded | None:
        """The scales that can be stored for a weight [rows, columns], where it is not any float16
        number."""

    def parts(
        self, name: str, levels: torch.Tensor, scales: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """What is stored for levels [N, K] and scales [N, blocks], by the last word of each
        name."""

    def expected(self, rows: int, columns: int) -> Expected:
        """What the parts of a weight [rows, columns] are."""


@dataclass(frozen=True)
class Packed:
    """Integers of `bits` in words of 32 bits, a scale for `divisor` of a row: W4A16, W8A16."""

    bits: int
    divisor: int
    format: ClassVar[str] = "pack-quantized"

    def grid(self, name: str, weight: torch.Tensor, importance: torch.Tensor) -> Grid:
        """As `Layout.grid`."""
        options = GridOptions(self.bits, self.divisor, symmetric=True)
        return integer_grid.search(weight, importance, options)

    def blocks(self, columns: int) -> BlockGrid:
        """As `Layout.blocks`."""
        return _integers(self.bits, self.divisor)

    def coded(self, name: str, rows: int, columns: int) -> Coded | None:
        """As `Layout.coded`."""
        return None

    def parts(
        self, name: str, levels: torch.Tensor, scales: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """As `Layout.parts`."""
        return {
            "weight_packed": pack_to_int32(levels.to(torch.int8), self.bits),
            "weight_scale": scales.half(),
            "weight_shape": torch.tensor(levels.shape),
        }

    def expected(self, rows: int, columns: int) -> Expected:
        """As `Layout.expected`."""
        return {
            "weight_packed": ("I32", (rows, -(-columns * self.bits // _WORD))),
            "weight_scale": ("F16", (rows, columns // self.divisor)),
            "weight_shape": ("I64", (2,)),
        }


@dataclass(frozen=True)
class Int8:
    """A byte for each weight, a scale for each row: W8A8."""

    format: ClassVar[str] = "int-quantized"
    divisor: ClassVar[int] = 1

    def grid(self, name: str, weight: torch.Tensor, importance: torch.Tensor) -> Grid:
        """As `Layout.grid`."""
        options = GridOptions(8, weight.shape[1], symmetric=True)
        return integer_grid.search(weight, importance, options)

    def blocks(self, columns: int) -> BlockGrid:
        """As `Layout.blocks`."""
        return _integers(8, columns)

    def coded(self, name: str, rows: int, columns: int) -> Coded | None:
        """As `Layout.coded`."""
        return None

    def parts(
        self, name: str, levels: torch.Tensor, scales: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """As `Layout.parts`."""
        return {"weight": levels.to(torch.int8), "weight_scale": scales.half()}

    def expected(self, rows: int, columns: int) -> Expected:
        """As `Layout.expected`."""
        return {"weight": ("I8", (rows, columns)), "weight_scale": ("F16", (rows, 1))}


@dataclass(frozen=True)
class Float8:
    """E4M3, a scale for each row: FP8_DYNAMIC."""

    format: ClassVar[str] = "float-quantized"
    divisor: ClassVar[int] = 1

    def grid(self, name: str, weight: torch.Tensor, importance: torch.Tensor) -> Grid:
        """As `Layout.grid`."""
        return float_grid.search(weight, importance, weight.shape[1], E4M3, storable)

    def blocks(self, columns: int) -> BlockGrid:
        """As `Layout.blocks`."""
        return BlockGrid(E4M3.levels(), columns, storage=Storage.POSITIVE)

    def coded(self, name: str, rows: int, columns: int) -> Coded | None:
        """As `Layout.coded`."""
        return None

    def parts(
        self, name: str, levels: torch.Tensor, scales: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """As `Layout.parts`."""
        return {"weight": levels.to(torch.float8_e4m3fn), "weight_scale": scales.half()}

    def expected(self, rows: int, columns: int) -> Expected:
        """As `Layout.expected`."""
        return {"weight": ("F8_E4M3", (rows, columns)), "weight_scale": ("F16", (rows, 1))}


@dataclass(frozen=True)
class Float4:
    """E2M1 in pairs, for 16 of a row a scale in E4M3, which is divided by one of the whole weight:
    NVFP4A16. `factors` are the latter, by the weights' names."""

    factors: Mapping[str, float]
    format: ClassVar[str] = "nvfp4-pack-quantized"
    divisor: ClassVar[int] = 16

    def grid(self, name: str, weight: torch.Tensor, importance: torch.Tensor) -> Grid:
        """As `Layout.grid`."""
        factor = torch.tensor(self.factors[name])

        def store(scales: torch.Tensor) -> torch.Tensor:
            inside = (scales * factor).clamp(_MIN_E4M3, E4M3.largest)
            return inside.to(torch.float8_e4m3fn).float() / factor

        return float_grid.search(weight, importance, self.divisor, E2M1, store)

    def blocks(self, columns: int) -> BlockGrid:
        """As `Layout.blocks`."""
        return BlockGrid(E2M1.levels(), self.divisor, storage=Storage.CODED)

    def coded(self, name: str, rows: int, columns: int) -> Coded | None:
        """As `Layout.coded`."""
        table = np.array([one for one in E4M3.levels() if one > 0], np.float32)
        reach = np.full((rows, columns // self.divisor), 1 / self.factors[name], np.float32)
        return Coded(table, 0, reach)

    def parts(
        self, name: str, levels: torch.Tensor, scales: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """As `Layout.parts`."""
        factor = torch.tensor([self.factors[name]])
        return {
            "weight_packed": pack_fp4_to_uint8(levels),
            "weight_scale": (scales * factor).to(torch.float8_e4m3fn),
            "weight_global_scale": factor,
        }

    def expected(self, rows: int, columns: int) -> Expected:
        """As `Layout.expected`."""
        return {
            "weight_packed": ("U8", (rows, columns // 2)),
            "weight_scale": ("F8_E4M3", (rows, columns // self.divisor)),
            "weight_global_scale": ("F32", (1,)),
        }


def _integers(bits: int, group: int) -> BlockGrid:
    middle = 2 ** (bits - 1)
    return BlockGrid(tuple(range(-middle, middle)), group, storage=Storage.POSITIVE)


def factor_of(largest: float) -> float:
    """What scales are multiplied by, so that the block of the largest weight gets the largest
    scale that E4M3 holds; as a float32 number."""
    if not largest:
        return 1.0
    return float(torch.tensor(E4M3.largest * E2M1.largest / largest))
