"""The refinement after GPTQ, in compiled code; `scripts.methods.gptq` says what it computes.

Weights are [columns, rows], here in their own order.
"""

import numba
import numpy as np

from scripts.arithmetic.compiled import COMPILED
from scripts.arithmetic.products import add_product_of
from scripts.arithmetic.scalars import fma
from scripts.methods.kernels.storage import CODED, copy, round_column, snap, to_codes

_BATCH = 128  # columns whose slopes are taken together
_ZERO, _ONE, _TWO = np.float32(0), np.float32(1), np.float32(2)


@numba.njit(**COMPILED)
def _refit(grid, part, level, error, slope, unit, low, scale, offset, gain):
    """Move the scale and offset [rows] of a group to the best ones for its levels [group, rows],
    where that lowers the loss; errors and slopes [group, rows] follow.

    `part` [group, group] is the Hessian's; slope = H · error. `gain` [rows] grows by what the loss
    falls.
    """
    width, rows = level.shape
    bend = np.zeros((width, rows), np.float32)  # H · level
    ones = np.zeros(width, np.float32)  # H · 1
    for line in range(width):
        for column in range(width):
            share = part[line, column]
            ones[line] += share
            for row in range(rows):
                bend[line, row] = fma(share, level[column, row], bend[line, row])
    ll, ls = np.zeros(rows, np.float32), np.zeros(rows, np.float32)
    l1, s1, total = np.zeros(rows, np.float32), np.zeros(rows, np.float32), _ZERO
    for line in range(width):
        total += ones[line]
        for row in range(rows):
            ll[row] = fma(level[line, row], bend[line, row], ll[row])
        for row in range(rows):
            ls[row] = fma(level[line, row], slope[line, row], ls[row])
        for row in range(rows):
            l1[row] += bend[line, row]
        for row in range(rows):
            s1[row] += slope[line, row]
    fitted, shift = np.empty(rows, np.float32), np.empty(rows, np.float32)
    for row in range(rows):
        of = ll[row] * total - l1[row] * l1[row]
        if grid.with_offset and of > 0:
            by = (ls[row] * total - s1[row] * l1[row]) / of
            shift[row] = offset[row] + (s1[row] - by * l1[row]) / total
        else:
            by = ls[row] / ll[row] if ll[row] > 0 else _ZERO
            shift[row] = offset[row]
        fitted[row] = scale[row] + by
    snap(grid, fitted, shift, unit, low)
    for row in range(rows):
        by, more = fitted[row] - scale[row], shift[row] - offset[row]
        falls = _TWO * (by * ls[row] + more * s1[row]) - (
            by * by * ll[row] + _TWO * by * more * l1[row] + more * more * total
        )
        if falls > 0:
            gain[row] += falls
            scale[row], offset[row] = fitted[row], shift[row]
        else:
            by, more = _ZERO, _ZERO
        fitted[row], shift[row] = by, more
    for line in range(width):
        for row in range(rows):
            error[line, row] -= fma(fitted[row], level[line, row], shift[row])
        for row in range(rows):
            slope[line, row] -= fma(fitted[row], bend[line, row], shift[row] * ones[line])


@numba.njit(**COMPILED)
def _descend(grid, part, weights, level, error, slope, scale, offset, gain):
    """Each column of a group in turn takes the levels that are best with all others fixed."""
    width, rows = level.shape
    inverse, wanted = np.empty(rows, np.float32), np.empty(rows, np.float32)
    moved = np.empty(rows, np.float32)
    for row in range(rows):
        inverse[row] = _ONE / scale[row] if scale[row] != 0 else _ZERO
    for column in range(width):
        pivot = part[column, column]
        if not pivot > 0:
            continue
        once = _ONE / pivot
        for row in range(rows):
            wanted[row] = fma(slope[column, row], once, weights[column, row]) - error[column, row]
        for row in range(rows):
            wanted[row] = (wanted[row] - offset[row]) * inverse[row]
        round_column(grid, wanted, moved)
        for row in range(rows):
            wanted[row] = (moved[row] - level[column, row]) * scale[row]
        for row in range(rows):
            gain[row] += wanted[row] * (_TWO * slope[column, row] - pivot * wanted[row])
        copy(moved, level[column])
        for row in range(rows):
            error[column, row] -= wanted[row]
        for after in range(column, width):
            share = -part[column, after]
            for row in range(rows):
                slope[after, row] = fma(share, wanted[row], slope[after, row])


@numba.njit(**COMPILED)
def descend_columns(
    grid, weights, hessian, damping, codes, scales, offsets, reach, units, lows, gain
):
    """One sweep over the groups: their scales and offsets, then their levels column by column.

    `weights` [columns, rows], `hessian` [columns, columns], to whose diagonal `damping` is added;
    `codes`, `scales`, `offsets`, `reach`, `units`, `lows` as `compensate.round_columns` gives them,
    of which the first three move; `gain` [rows] receives by how much the loss fell.
    """
    columns, rows = weights.shape
    group, block = grid.group, grid.block
    levels, errors = np.empty((columns, rows), np.float32), np.empty((columns, rows), np.float32)
    for column in range(columns):
        place = column // group
        for row in range(rows):
            levels[column, row] = grid.levels[codes[column, row]]
        for row in range(rows):
            value = levels[column, row] * scales[place, row] + offsets[place, row]
            errors[column, row] = weights[column, row] - value
    for row in range(rows):
        gain[row] = _ZERO
    batch = max(_BATCH // group, 1) * group
    for start in range(0, columns, batch):
        end = min(start + batch, columns)
        slopes = np.zeros((end - start, rows), np.float32)
        add_product_of(hessian[start:end], errors, slopes, _ONE)
        for column in range(start, end):
            for row in range(rows):
                slopes[column - start, row] += damping * errors[column, row]
        for at in range(start, end, group):
            mine, place = slice(at, at + group), at // group
            part = np.empty((group, group), np.float32)
            before = np.empty((group, rows), np.float32)
            for line in range(group):
                for column in range(group):
                    part[line, column] = hessian[at + line, at + column]
                part[line, line] += damping
                copy(errors[at + line], before[line])
            slope = slopes[at - start : at - start + group]
            unit = reach[place] if grid.storage == CODED else units[at // block]
            _refit(
                grid, part, levels[mine], errors[mine], slope, unit, lows[at // block],
                scales[place], offsets[place], gain,
            )  # fmt: skip
            _descend(
                grid, part, weights[mine], levels[mine], errors[mine], slope, scales[place],
                offsets[place], gain,
            )  # fmt: skip
            for line in range(group):
                for row in range(rows):
                    before[line, row] = errors[at + line, row] - before[line, row]
                to_codes(grid, levels[at + line], codes[at + line])
            later = slice(at + group, end)
            add_product_of(hessian[later, mine], before, slopes[at - start + group :], _ONE)
