"""Cholesky factors with the same bits on every processor: blocks by loops, the rest by products.

Float64 throughout. Right-looking, as in Golub and Van Loan, Matrix Computations, 4th ed., 4.2.6.
"""

from typing import Any

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from scripts.arithmetic.compiled import COMPILED
from scripts.arithmetic.products import add_product_of

_BLOCK = 64
_MATRIX = types.Array(types.float64, 2, "C")
_PART = types.Array(types.float64, 2, "A")


@numba.njit(types.boolean(_PART), **COMPILED)
def _factor_block(block):
    """The lower Cholesky factor of a symmetric block in place, its upper part left as it is;
    false where it is not positive definite."""
    for column in range(len(block)):
        pivot = block[column, column]
        if not pivot > 0 or not np.isfinite(pivot):
            return False
        root = np.sqrt(pivot)
        block[column, column] = root
        for row in range(column + 1, len(block)):
            block[row, column] /= root
        for row in range(column + 1, len(block)):
            for other in range(column + 1, row + 1):
                block[row, other] -= block[row, column] * block[other, column]
    return True


@numba.njit(types.void(_PART, _PART), **COMPILED)
def _solve_rows(block, rows):
    """X with X Lᵀ = `rows` [n, block] in its place, L the lower factor `block`."""
    turned = np.ascontiguousarray(block.T)
    width = len(block)
    for row in range(len(rows)):
        for column in range(width):
            value = rows[row, column] / turned[column, column]
            rows[row, column] = value
            for after in range(column + 1, width):
                rows[row, after] -= value * turned[column, after]


@numba.njit(types.boolean(_MATRIX), **COMPILED)
def _cholesky(matrix):
    """The lower factor in place; what lies above the diagonal is not zeroed."""
    size = len(matrix)
    for start in range(0, size, _BLOCK):
        end = min(start + _BLOCK, size)
        if not _factor_block(matrix[start:end, start:end]):
            return False
        _solve_rows(matrix[start:end, start:end], matrix[end:, start:end])
        for top in range(end, size, 4 * _BLOCK):
            bottom = min(top + 4 * _BLOCK, size)
            left, right = matrix[top:bottom, start:end], matrix[end:bottom, start:end].T
            add_product_of(left, right, matrix[top:bottom, end:bottom], -1.0)
    return True


@numba.njit(types.void(_PART, _PART), **COMPILED)
def _invert_block(factor, inverse):
    """L⁻¹ of a block into `inverse`, which is zero."""
    for row in range(len(factor)):
        inverse[row, row] = 1.0
        for before in range(row):
            for column in range(before + 1):
                inverse[row, column] -= factor[row, before] * inverse[before, column]
        for column in range(row + 1):
            inverse[row, column] /= factor[row, row]


@numba.njit(types.void(_MATRIX, _MATRIX), **COMPILED)
def _invert_lower(factor, inverse):
    """L⁻¹ for the lower factor L into `inverse`, which is zero: of blocks, then of pairs of them.

    The inverse of [[A, 0], [B, C]] is [[A⁻¹, 0], [-C⁻¹ B A⁻¹, C⁻¹]].
    """
    size = len(factor)
    for start in range(0, size, _BLOCK):
        mine = slice(start, min(start + _BLOCK, size))
        _invert_block(factor[mine, mine], inverse[mine, mine])
    width = _BLOCK
    while width < size:
        for start in range(0, size - width, 2 * width):
            middle, end = start + width, min(start + 2 * width, size)
            product = np.zeros((end - middle, width))
            above, left = inverse[start:middle, start:middle], factor[middle:end, start:middle]
            add_product_of(left, above, product, 1.0)
            beside = inverse[middle:end, middle:end]
            add_product_of(beside, product, inverse[middle:end, start:middle], -1.0)
        width *= 2


def upper_inverse_factor(hessian: NDArray[Any]) -> NDArray[np.float32]:
    """The upper Cholesky factor U [K, K], float32, of H⁻¹ = Uᵀ U for H [K, K].

    With the order of rows and columns turned round, H = R Rᵀ has an upper R, and U = R⁻¹: one
    factorisation and one inverse of a triangle. Raises numpy.linalg.LinAlgError where H is not
    positive definite.
    """
    turned = np.array(hessian[::-1, ::-1], np.float64, order="C")
    if not _cholesky(turned):
        raise np.linalg.LinAlgError("the matrix is not positive definite")
    inverse = np.zeros_like(turned)
    _invert_lower(turned, inverse)
    return np.ascontiguousarray(inverse[::-1, ::-1], dtype=np.float32)
