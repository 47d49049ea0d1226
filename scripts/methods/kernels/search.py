"""The best scales of a group of columns under the loss that GPTQ leaves, in compiled code.

Weights are [columns, rows] here and in the order of the rounding: the innermost loops go over rows,
which are independent, so they become vectors, and no bit depends on how wide these are.
"""

import numba
import numpy as np

from scripts.arithmetic.compiled import COMPILED
from scripts.arithmetic.scalars import fma, to_float16
from scripts.methods.kernels.storage import (
    FREE,
    HALF,
    MULTIPLES,
    Grid,
    copy,
    is_signed,
    round_column,
    snap,
)

_LANES = 64  # rows that are searched together, so that all their candidates stay in cache
_LONGEST = 128  # columns of a group that is rounded again for each candidate
# Ranges to try: how far in, as a part of the range, lie the lowest and the highest level.
_SHRINK = ((0.0, 0.0), (0.04, 0.04), (0.09, 0.09), (0.15, 0.15), (0.1, 0.0), (0.0, 0.1))
_STRETCH = (0.8, 0.9, 1.0, 1.1)  # of the scale by which the largest weight is the last level
_ABSMAX = (1.06, 0.98, 0.9, 0.82, 0.74)  # the same, of levels spaced unevenly, or of one sign
_REFITS = 2
_ZERO, _ONE = np.float32(0), np.float32(1)


@numba.njit(**COMPILED)
def _sweep(grid, upper, apart, work, scale, offset, levels, loss):
    """GPTQ on the columns of one group with given scales [lanes]: `work` [group, lanes] holds the
    weights and receives their errors. With `apart` no column makes up for another."""
    width, lanes = work.shape
    inverse, wanted = np.empty(lanes, np.float32), np.empty(lanes, np.float32)
    for lane in range(lanes):
        loss[lane] = _ZERO
    for lane in range(lanes):
        inverse[lane] = _ONE / scale[lane] if scale[lane] != 0 else _ZERO
    for column in range(width):
        current, level = work[column], levels[column]
        for lane in range(lanes):
            wanted[lane] = current[lane] - offset[lane]
        for lane in range(lanes):
            wanted[lane] *= inverse[lane]
        round_column(grid, wanted, level)
        for lane in range(lanes):
            wanted[lane] = level[lane] * scale[lane]
        for lane in range(lanes):
            wanted[lane] += offset[lane]
        pivot = _ONE / upper[column, column]
        for lane in range(lanes):
            current[lane] = (current[lane] - wanted[lane]) * pivot
        for lane in range(lanes):
            loss[lane] = fma(current[lane], current[lane], loss[lane])
        for after in range(width if apart else column + 1, width):
            share, rest = -upper[column, after], work[after]
            for lane in range(lanes):
                rest[lane] = fma(share, current[lane], rest[lane])


@numba.njit(**COMPILED)
def _stretches(grid):
    """Parts of the largest scale that are tried."""
    if is_signed(grid) and grid.even:
        return np.array(_STRETCH, np.float32)
    return np.array(_ABSMAX, np.float32)


@numba.njit(**COMPILED)
def _starts(grid, weights, scale, offset):
    """Scales and offsets to start from, [candidates · rows], for `weights` [group, rows]."""
    rows = weights.shape[1]
    first, last = grid.levels[0], grid.levels[-1]
    low, high = np.empty(rows, np.float32), np.empty(rows, np.float32)
    copy(weights[0], low)
    copy(weights[0], high)
    for column in range(1, len(weights)):
        one = weights[column]
        for row in range(rows):
            low[row] = min(low[row], one[row])
        for row in range(rows):
            high[row] = max(high[row], one[row])
    at = 0
    if grid.with_offset:
        if grid.storage != HALF:
            for row in range(rows):
                low[row], high[row] = min(low[row], _ZERO), max(high[row], _ZERO)
        for a, b in _SHRINK:
            for row in range(rows):
                span = high[row] - low[row]
                scale[at] = span / (last - first) * np.float32(1 - a - b)
                offset[at] = low[row] + np.float32(a) * span
                at += 1
        return
    for row in range(rows):
        high[row] = high[row] if high[row] > -low[row] else low[row]
    for row in range(len(offset)):
        offset[row] = _ZERO
    if is_signed(grid):
        for end in (first, last):
            for stretch in _stretches(grid):
                for row in range(rows):
                    scale[at] = high[row] / end * stretch
                    at += 1
    else:
        for share in _stretches(grid):
            for row in range(rows):
                scale[at] = abs(high[row]) / last * share
                at += 1


@numba.njit(**COMPILED)
def _candidates(grid):
    """How many scales are tried."""
    if grid.with_offset:
        return len(_SHRINK)
    return len(_stretches(grid)) * (2 if is_signed(grid) else 1)


@numba.njit(**COMPILED)
def _fit(grid, solved, weights, levels, scale, offset):
    """The scale and offset [rows] with the least loss for given levels [group, rows]: least squares
    in one or two unknowns."""
    width, rows = weights.shape
    aa, aw = np.zeros(rows, np.float32), np.zeros(rows, np.float32)
    a1, w1 = np.zeros(rows, np.float32), np.zeros(rows, np.float32)
    a, w = np.empty(rows, np.float32), np.empty(rows, np.float32)
    ones = _ZERO
    for line in range(width):
        for row in range(rows):
            a[row], w[row] = _ZERO, _ZERO
        one = _ZERO
        for column in range(line + 1):
            share = solved[line, column]
            one += share
            level, weight = levels[column], weights[column]
            for row in range(rows):
                a[row] = fma(share, level[row], a[row])
                w[row] = fma(share, weight[row], w[row])
        ones += one * one
        for row in range(rows):
            aa[row] = fma(a[row], a[row], aa[row])
            aw[row] = fma(a[row], w[row], aw[row])
            a1[row] = fma(a[row], one, a1[row])
            w1[row] = fma(w[row], one, w1[row])
    for row in range(rows):
        if grid.with_offset:
            of = aa[row] * ones - a1[row] * a1[row]
            scale[row] = (aw[row] * ones - a1[row] * w1[row]) / of if of != 0 else _ZERO
            offset[row] = (w1[row] - scale[row] * a1[row]) / ones
        else:
            scale[row] = aw[row] / aa[row] if aa[row] != 0 else _ZERO
            offset[row] = 0


@numba.njit(**COMPILED)
def _inverse(upper):
    """(U⁻¹)ᵀ of a group's factor, which is lower triangular."""
    width = len(upper)
    solved = np.zeros((width, width), np.float32)
    for column in range(width):
        solved[column, column] = _ONE / upper[column, column]
        for line in range(column + 1, width):
            total = _ZERO
            for inner in range(column, line):
                total = fma(upper[inner, line], solved[inner, column], total)
            solved[line, column] = -total / upper[line, line]
    return solved


@numba.njit(**COMPILED)
def _search(grid, upper, solved, weights, unit, low, levels, errors, scale, offset, loss):
    """The best scale and offset of a group for each row, and levels and errors under them.

    `weights`, `levels`, `errors` [group, rows]; `unit`, `low`, `scale`, `offset`, `loss` [rows];
    `solved` [group, group] is the group's inverse factor, transposed.
    """
    width, rows = weights.shape
    count, apart = _candidates(grid), width > _LONGEST
    scales, offsets = np.empty(count * rows, np.float32), np.empty(count * rows, np.float32)
    _starts(grid, weights, scales, offsets)
    losses = np.empty(count * rows, np.float32)
    work = np.empty((width, count * rows), np.float32)
    tried = np.empty((width, count * rows), np.float32)
    for at in range(count):
        part = slice(at * rows, (at + 1) * rows)
        snap(grid, scales[part], offsets[part], unit, low)
        for column in range(width):
            copy(weights[column], work[column, part])
    _sweep(grid, upper, apart, work, scales, offsets, tried, losses)
    for row in range(rows):
        best = row
        for other in range(row + rows, count * rows, rows):
            if losses[other] < losses[best]:
                best = other
        scale[row], offset[row], loss[row] = scales[best], offsets[best], losses[best]
        for column in range(width):
            levels[column, row], errors[column, row] = tried[column, best], work[column, best]
    again, moved = np.empty((width, rows), np.float32), np.empty((width, rows), np.float32)
    fitted, shift, lost = scales[:rows], offsets[:rows], losses[:rows]
    for _ in range(_REFITS):
        _fit(grid, solved, weights, levels, fitted, shift)
        snap(grid, fitted, shift, unit, low)
        for column in range(width):
            copy(weights[column], again[column])
        _sweep(grid, upper, apart, again, fitted, shift, moved, lost)
        for row in range(rows):
            if lost[row] < loss[row]:
                scale[row], offset[row], loss[row] = fitted[row], shift[row], lost[row]
                for column in range(width):
                    levels[column, row], errors[column, row] = (
                        moved[column, row],
                        again[column, row],
                    )
    if apart:
        for column in range(width):
            copy(weights[column], errors[column])
        _sweep(grid, upper, False, errors, scale, offset, levels, loss)


@numba.njit(**COMPILED)
def search_rows(grid, triangle, weights, unit, low, levels, errors, scale, offset, loss):
    """`_search`, so many rows at a time that their candidates stay in cache."""
    width, rows = weights.shape
    solved = _inverse(triangle)
    for first in range(0, rows, _LANES):
        part = slice(first, min(first + _LANES, rows))
        mine = np.empty((width, part.stop - first), np.float32)
        best, error = np.empty_like(mine), np.empty_like(mine)
        for column in range(width):
            copy(weights[column, part], mine[column])
        _search(
            grid, triangle, solved, mine, unit[part], low[part], best, error, scale[part],
            offset[part], loss[part],
        )  # fmt: skip
        for column in range(width):
            copy(best[column], levels[column, part])
            copy(error[column], errors[column, part])


@numba.njit(**COMPILED)
def triangle_of(upper, start, width):
    """The part of the factor that is of some columns, in one piece."""
    part = np.empty((width, width), np.float32)
    for row in range(width):
        for column in range(width):
            part[row, column] = upper[start + row, start + column]
    return part


@numba.njit(**COMPILED)
def search_scales(grid, upper, weights, start, scale, offset):
    """The best scale and offset of each group by itself, [groups, rows], for `weights`
    [columns, rows], the first of which is column `start` of the factor."""
    columns, rows = weights.shape
    group = grid.group
    levels, errors = np.empty((group, rows), np.float32), np.empty((group, rows), np.float32)
    loss, nothing = np.zeros(rows, np.float32), np.zeros(rows, np.float32)
    for at in range(0, columns, group):
        triangle, place = triangle_of(upper, start + at, group), at // group
        search_rows(
            grid, triangle, weights[at : at + group], nothing, nothing, levels, errors,
            scale[place], offset[place], loss,
        )  # fmt: skip


@numba.njit(**COMPILED)
def find_units(grid, upper, weights, start, unit, low):
    """What the scales and offsets of a block are multiples of, [rows], from those that its groups
    would have by themselves."""
    if grid.storage != MULTIPLES:
        return
    free = Grid(
        grid.levels, grid.middles, grid.even, grid.with_offset, FREE, grid.smallest,
        grid.largest, grid.table, grid.mean, grid.group, grid.block,
    )  # fmt: skip
    shape = grid.block // grid.group, weights.shape[1]
    scale, offset = np.empty(shape, np.float32), np.empty(shape, np.float32)
    search_scales(free, upper, weights, start, scale, offset)
    for row in range(len(unit)):
        largest, lowest = _ZERO, _ZERO
        for place in range(len(scale)):
            largest, lowest = max(largest, abs(scale[place, row])), min(lowest, offset[place, row])
        unit[row] = to_float16(largest / grid.largest)
        low[row] = to_float16(lowest / grid.largest)
