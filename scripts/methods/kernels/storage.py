"""How the grid's levels and scales are stored, in compiled code: what is nearest, and its codes."""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from scripts.arithmetic.compiled import COMPILED
from scripts.arithmetic.scalars import to_float16

HALF, MULTIPLES, ZERO_POINTS, SINGLE, CODED, POSITIVE, FREE = range(7)
_ZERO, _ONE = np.float32(0), np.float32(1)
_SMALLEST = np.float32(2.0**-24)  # that float16 holds above zero


class Grid(NamedTuple):
    """`scripts.methods.block_grid.BlockGrid` as compiled code takes it; the levels ascend, and
    `middles` lie between them. FREE is HALF for what will become MULTIPLES."""

    levels: NDArray[np.float32]
    middles: NDArray[np.float32]
    even: bool
    with_offset: bool
    storage: int
    smallest: np.float32
    largest: np.float32
    table: NDArray[np.float32]
    mean: np.float32
    group: int
    block: int


@numba.njit(**COMPILED)
def copy(source, target):
    """All of one piece into another."""
    for at in range(len(source)):
        target[at] = source[at]


@numba.njit(**COMPILED)
def _to_float16(values):
    for at in range(len(values)):
        values[at] = to_float16(values[at])


@numba.njit(**COMPILED)
def _to_multiples(values, units, smallest, largest):
    """The nearest multiples of the units; zero where a unit is zero."""
    for at in range(len(values)):
        unit = units[at]
        times = min(max(np.rint(values[at] / unit), smallest), largest)
        values[at] = times * unit if unit != 0 else _ZERO


@numba.njit(**COMPILED)
def _to_zero_points(scale, offset, last):
    """float16 scales above zero, and offsets that are whole multiples of them below zero."""
    for at in range(len(scale)):
        stored = to_float16(scale[at])
        zero = min(max(np.rint(-offset[at] / stored), _ZERO), last)
        scale[at] = stored if stored > 0 else _ZERO
        offset[at] = -zero * stored if stored > 0 else _ZERO


@numba.njit(**COMPILED)
def _to_coded(scale, reach, table, mean):
    """The nearest of mean + reach · table, whose entries ascend."""
    for at in range(len(scale)):
        wanted = (scale[at] - mean) / reach[at]
        first, last = 0, len(table) - 1
        while first < last:
            middle = (first + last) // 2
            if wanted > (table[middle] + table[middle + 1]) / np.float32(2):
                first = middle + 1
            else:
                last = middle
        scale[at] = table[first] * reach[at] + mean if reach[at] > 0 else _ZERO


@numba.njit(**COMPILED)
def snap(grid, scale, offset, unit, low):
    """In place the nearest scales and offsets [rows] that can be stored. `unit` and `low` are what
    they are multiples of; with a table `unit` is what its entries are multiplied by."""
    if grid.storage in (HALF, FREE):
        _to_float16(scale)
        _to_float16(offset)
    elif grid.storage == POSITIVE:
        for at in range(len(scale)):
            scale[at] = max(to_float16(scale[at]), _SMALLEST)
    elif grid.storage == MULTIPLES:
        _to_multiples(scale, unit, grid.smallest, grid.largest)
        _to_multiples(offset, low, grid.smallest, grid.largest)
    elif grid.storage == ZERO_POINTS:
        _to_zero_points(scale, offset, grid.levels[-1])
    elif grid.storage == CODED:
        _to_coded(scale, unit, grid.table, grid.mean)


@numba.njit(**COMPILED)
def is_signed(grid):
    """Whether scales below zero can be stored and turn the levels around to something new."""
    if grid.storage == SINGLE:
        return not _is_mirrored(grid.levels)
    if grid.storage == CODED:
        return grid.table[0] < 0 and not _is_mirrored(grid.levels)
    return grid.storage in (HALF, MULTIPLES, FREE)


@numba.njit(**COMPILED)
def _is_mirrored(levels):
    mirrored = True
    for at in range(len(levels)):
        mirrored = mirrored and levels[at] == -levels[len(levels) - 1 - at]
    return mirrored


@numba.njit(**COMPILED)
def round_column(grid, wanted, level):
    """The levels of one column that are nearest to `wanted`, which is used up; both [lanes]."""
    if grid.even:
        first, last = grid.levels[0], grid.levels[-1]
        for lane in range(len(wanted)):
            level[lane] = min(max(np.rint(wanted[lane]), first), last)
    else:
        for lane in range(len(wanted)):
            level[lane] = grid.levels[0]
        for at in range(len(grid.middles)):
            middle, above = grid.middles[at], grid.levels[at + 1]
            for lane in range(len(wanted)):
                level[lane] = above if wanted[lane] > middle else level[lane]


@numba.njit(**COMPILED)
def to_codes(grid, levels, codes):
    """Which of the grid's levels these are, [rows]."""
    if grid.even:
        first = grid.levels[0]
        for row in range(len(levels)):
            codes[row] = np.uint8(levels[row] - first)
    else:
        for row in range(len(levels)):
            code = 0
            while grid.levels[code] < levels[row]:
                code += 1
            codes[row] = code
