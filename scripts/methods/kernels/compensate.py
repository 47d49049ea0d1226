"""GPTQ's pass over the columns, in compiled code; `scripts.methods.gptq` says what it computes."""

import numba
import numpy as np

from scripts.arithmetic.compiled import COMPILED
from scripts.arithmetic.products import add_product_of
from scripts.methods.kernels.search import find_units, search_rows, triangle_of
from scripts.methods.kernels.storage import CODED, copy, to_codes

_BATCH = 256  # columns whose errors go to the rest together
_ZERO = np.float32(0)


@numba.njit(**COMPILED)
def round_columns(grid, left, upper, order, reach, codes, scales, offsets, units, lows, loss):
    """GPTQ.

    `left` [columns, rows] are the weights in the order of the rounding, and are used up; `upper`
    [columns, columns] is in that order, and `order` [columns] says what it is: groups and blocks
    stay together. `reach` [groups, rows] is what a table is multiplied by. Into `codes`
    [columns, rows], `scales` and `offsets` [groups, rows], `units` and `lows` [blocks, rows], all
    in the weight's own order, and `loss` [rows] under the Hessian of the factor.
    """
    columns, rows = left.shape
    group, block = grid.group, grid.block
    batch = max(_BATCH // block, 1) * block
    errors, chosen = np.empty((batch, rows), np.float32), np.empty((group, rows), np.float32)
    lost = np.empty(rows, np.float32)
    unit, low = np.zeros(rows, np.float32), np.zeros(rows, np.float32)
    for start in range(0, columns, batch):
        end = min(start + batch, columns)
        for at in range(start, end, group):
            place, triangle = order[at] // group, triangle_of(upper, at, group)
            if at % block == 0:
                find_units(grid, upper, left[at : at + block], at, unit, low)
            if grid.storage == CODED:
                copy(reach[place], unit)
            made = errors[at - start : at - start + group]
            search_rows(
                grid, triangle, left[at : at + group], unit, low, chosen, made, scales[place],
                offsets[place], lost,
            )  # fmt: skip
            copy(unit, units[order[at] // block])
            copy(low, lows[order[at] // block])
            for row in range(rows):
                loss[row] += lost[row]
            for column in range(group):
                to_codes(grid, chosen[column], codes[order[at + column]])
            later = slice(at + group, end)
            share = upper[at : at + group, later].T
            add_product_of(share, made, left[later], np.float32(-1))
        share = upper[start:end, end:].T
        add_product_of(share, errors[: end - start], left[end:], np.float32(-1))
