"""What GPTQ rounds to, and what comes out: grids of levels with a scale for each group of columns,
which every format of blocks has in its own way."""

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.methods.kernels import storage
from scripts.methods.kernels.storage import Grid

Floats = NDArray[np.float32]


class Storage(IntEnum):
    """How a format keeps scales and offsets."""

    HALF = storage.HALF
    """float16 numbers"""
    POSITIVE = storage.POSITIVE
    """float16 numbers above zero; no offsets"""
    MULTIPLES = storage.MULTIPLES
    """whole multiples of a float16 number that a block has for each of the two; no offset is above
    zero"""
    ZERO_POINTS = storage.ZERO_POINTS
    """float16 scales above zero, and offsets that are minus a level times the scale"""
    SINGLE = storage.SINGLE
    """float32 scales, no offsets"""
    CODED = storage.CODED
    """entries of a table, times a number for each group, plus a mean: `Coded`; no offsets"""


@dataclass(frozen=True)
class BlockGrid:
    """What a weight can become: a value is `scale · level + offset`.

    `group` columns of a row have one scale, and one offset where the grid is `with_offset`; `block`
    columns, by default as many, are stored together. `levels` ascend. `multiples` are the least and
    the largest whole numbers of MULTIPLES.
    """

    levels: tuple[float, ...]
    group: int
    block: int = 0
    with_offset: bool = False
    storage: Storage = Storage.HALF
    multiples: tuple[int, int] = (0, 0)

    @property
    def columns(self) -> int:
        """Columns that are stored together."""
        return self.block or self.group

    @cached_property
    def steps(self) -> Floats:
        """The levels."""
        return np.array(self.levels, np.float32)


@dataclass(frozen=True)
class Coded:
    """The scales that can be stored: mean + table · reach.

    `table` [entries] ascends; `reach` [rows, groups].
    """

    table: Floats
    mean: float
    reach: Floats


@dataclass(frozen=True)
class Rounded:
    """`codes` uint8 [rows, columns] index the grid's levels; `scales` and `offsets`
    [rows, groups]; `units` and `lows` [rows, blocks] are what these are multiples of, where they
    are; `loss` [rows]: dW H dWᵀ of each row, of H as it was measured: what damping adds guards the
    rounding, and no output gets worse by it."""

    codes: NDArray[np.uint8]
    scales: Floats
    offsets: Floats
    units: Floats
    lows: Floats
    loss: Floats

    @classmethod
    def of_rows(cls, parts: list["Rounded"]) -> "Rounded":
        """The rows of all the parts."""
        by_field = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*map(np.concatenate, by_field))

    def values(self, grid: BlockGrid) -> Floats:
        """What the codes stand for, [rows, columns]."""
        scales, offsets = (np.repeat(x, grid.group, 1) for x in (self.scales, self.offsets))
        return grid.steps[self.codes] * scales + offsets


def compiled(grid: BlockGrid, coded: Coded | None) -> Grid:
    """The grid as `scripts.methods.kernels` takes it."""
    steps = grid.steps
    smallest, largest = map(np.float32, grid.multiples)
    table: Any = coded.table if coded else np.zeros(1, np.float32)
    return Grid(
        levels=steps,
        middles=((steps[1:] + steps[:-1]) / 2).astype(np.float32),
        even=bool((np.diff(steps) == 1).all()),
        with_offset=grid.with_offset,
        storage=int(grid.storage),
        smallest=smallest,
        largest=largest,
        table=np.ascontiguousarray(table, np.float32),
        mean=np.float32(coded.mean if coded else 0),
        group=grid.group,
        block=grid.columns,
    )
