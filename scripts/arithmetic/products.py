"""Matrix products with the same bits on every processor, and nearly as fast as its best library.

Each entry of A B is one chain of fused multiply-adds over the inner index, from the first to the
last, so its bits are defined by IEEE 754 alone: neither the width of the vectors nor the size of
the tiles nor the number of threads has a part in them. BLAS libraries promise no such thing: MKL's
COMPATIBLE mode, which comes nearest, has a fifth of the speed.

The tiling is that of Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication,
2008, doi:10.1145/1356052.1356053.
"""

from typing import Any

import numba
import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic
from numpy.typing import NDArray

from scripts.arithmetic.compiled import COMPILED


def _tile_of(features: dict[str, bool]) -> tuple[int, int, int]:
    """Bytes of a vector, rows of a tile, and vectors in each: together with the vectors of B and
    a number of A, as many as the processor has registers for, 32 or 16."""
    if features.get("avx512f"):
        return 64, 8, 3
    return (32 if features.get("avx2") else 16), 6, 2


_VECTOR_BYTES, _ROWS, _VECTORS = _tile_of(binding.get_host_cpu_features())
_COLUMN_BYTES = _VECTOR_BYTES * _VECTORS
# Parts of A stay in the second cache, one panel of B in the first.
_DEPTH, _PANELS, _HEIGHT = 384, 7680 // _COLUMN_BYTES, 192
_INT = ir.IntType(64)
_KINDS = (types.float32, types.float64)


def _read(kind: Any) -> Any:
    return types.Array(kind, 2, "A", readonly=True)


def _written(kind: Any) -> Any:
    return types.Array(kind, 2, "A")


@intrinsic
def _add_tile(_, kind, depth, a, b, c, stride):
    """C [_ROWS, columns] += A B at the addresses a, b, c, of `depth` terms in their order.

    `kind` is any number of the type of all. A is stored as [depth, _ROWS], B as [depth, columns],
    a row of C each `stride` numbers; there are as many columns as _COLUMN_BYTES hold.
    """
    size = kind.bitwidth // 8
    lanes = _VECTOR_BYTES // size

    def generate(context, builder, _, arguments):
        _, depth, *places, stride = arguments
        number = ir.FloatType() if size == 4 else ir.DoubleType()
        whole = ir.VectorType(number, lanes)
        a, b, c = (builder.inttoptr(place, number.as_pointer()) for place in places)
        form = ir.FunctionType(whole, [whole] * 3)
        fma = get_or_insert_function(builder.module, form, f"llvm.fma.v{lanes}f{8 * size}")
        undefined, zeros = ir.Constant(whole, ir.Undefined), [0] * lanes
        mask = ir.Constant(ir.VectorType(ir.IntType(32), lanes), zeros)

        def vector_at(base, offset):
            return builder.bitcast(builder.gep(base, [offset]), whole.as_pointer())

        def load(pointer):
            loaded = builder.load(pointer)
            loaded.align = size
            return loaded

        def repeated(base, offset):
            value = builder.load(builder.gep(base, [offset]))
            first = builder.insert_element(undefined, value, ir.IntType(32)(0))
            return builder.shuffle_vector(first, undefined, mask)

        cells = [
            vector_at(c, builder.add(builder.mul(stride, _INT(row)), _INT(at * lanes)))
            for row in range(_ROWS)
            for at in range(_VECTORS)
        ]
        start = [load(cell) for cell in cells]
        before = builder.block
        loop, done = builder.append_basic_block("terms"), builder.append_basic_block("done")
        builder.branch(loop)
        builder.position_at_end(loop)
        term = builder.phi(_INT)
        sums = [builder.phi(whole) for _ in cells]
        at_a, at_b = (builder.mul(term, _INT(width)) for width in (_ROWS, lanes * _VECTORS))
        right = [load(vector_at(b, builder.add(at_b, _INT(at * lanes)))) for at in range(_VECTORS)]
        added, totals = [], iter(sums)
        for row in range(_ROWS):
            left = repeated(a, builder.add(at_a, _INT(row)))
            added += [builder.call(fma, [left, other, next(totals)]) for other in right]
        following = builder.add(term, _INT(1))
        for phi, first, then in ((term, _INT(0), following), *zip(sums, start, added, strict=True)):
            phi.add_incoming(first, before)
            phi.add_incoming(then, loop)
        builder.cbranch(builder.icmp_signed("<", following, depth), loop, done)
        builder.position_at_end(done)
        for cell, total in zip(cells, added, strict=True):
            builder.store(total, cell).align = size
        return context.get_dummy_value()

    addresses = (types.uintp, types.uintp, types.uintp)
    return types.void(kind, types.intp, *addresses, types.intp), generate


@numba.njit([types.void(_read(k), k[::1], types.intp, k) for k in _KINDS], **COMPILED)
def _pack(values, packed, width, factor):
    """factor · `values` [K, N] as panels [K, width], each in one piece; the last one is filled up
    with zeros."""
    terms, columns = values.shape
    for start in range(0, columns, width):
        filled, base = min(width, columns - start), start * terms
        if values.strides[0] < values.strides[1]:
            for at in range(filled):
                for k in range(terms):
                    packed[base + k * width + at] = values[k, start + at] * factor
        else:
            for k in range(terms):
                for at in range(filled):
                    packed[base + k * width + at] = values[k, start + at] * factor
        for k in range(terms):
            for at in range(filled, width):
                packed[base + k * width + at] = 0


@numba.njit(
    [types.void(types.uintp, types.uintp, types.intp, _written(k)) for k in _KINDS], **COMPILED
)
def _add_edge(at_a, at_b, terms, part):
    """As `_add_tile` for a part of C that is smaller than a tile."""
    width = _COLUMN_BYTES // part.itemsize
    tile = np.zeros((_ROWS, width), part.dtype)
    rows, columns = part.shape
    for row in range(rows):
        for column in range(columns):
            tile[row, column] = part[row, column]
    _add_tile(tile[0, 0], terms, at_a, at_b, tile.ctypes.data, width)
    for row in range(rows):
        for column in range(columns):
            part[row, column] = tile[row, column]


@numba.njit([types.void(_read(k), _read(k), _written(k), k) for k in _KINDS], **COMPILED)
def add_product_of(a, b, c, factor):
    """C [M, N] += factor · A [M, K] B [K, N] for compiled code; the rows of C lie each in one
    piece."""
    rows, depth, columns, size = a.shape[0], a.shape[1], b.shape[1], a.itemsize
    tile = _COLUMN_BYTES // size
    packed_a = np.empty((rows + _ROWS) * min(depth, _DEPTH), a.dtype)
    packed_b = np.empty((min(columns, _PANELS * tile) + tile) * min(depth, _DEPTH), a.dtype)
    one = np.ones(1, a.dtype)[0]
    for right in range(0, columns, _PANELS * tile):
        width = min(_PANELS * tile, columns - right)
        for start in range(0, depth, _DEPTH):
            terms = min(_DEPTH, depth - start)
            inner = slice(start, start + terms)
            _pack(b[inner, right : right + width], packed_b, tile, one)
            _pack(a[:, inner].T, packed_a, _ROWS, factor)
            for top in range(0, rows, _HEIGHT):
                for j in range(0, width, tile):
                    at_b, n = packed_b.ctypes.data + size * j * terms, min(tile, width - j)
                    for i in range(top, min(top + _HEIGHT, rows), _ROWS):
                        at_a, m = packed_a.ctypes.data + size * i * terms, min(_ROWS, rows - i)
                        if m == _ROWS and n == tile:
                            place = c.ctypes.data + i * c.strides[0] + size * (right + j)
                            _add_tile(factor, terms, at_a, at_b, place, c.strides[0] // size)
                        else:
                            part = c[i : i + m, right + j : right + j + n]
                            _add_edge(at_a, at_b, terms, part)


def add_product(
    total: NDArray[np.float32],
    left: NDArray[np.float32],
    right: NDArray[np.float32],
    factor: float = 1.0,
) -> None:
    """Add factor · left [M, K] right [K, N] to `total` [M, N] in place, whose rows are contiguous.

    The factor is multiplied into `left` first. Other threads run meanwhile.
    """
    if not (left.size and right.size):
        return
    if total.strides[1] != total.itemsize and total.shape[1] > 1:
        raise ValueError("the rows of the total are not contiguous")
    add_product_of(left, right, total, total.dtype.type(factor))


def product(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """left [M, K] right [K, N]."""
    total = np.zeros((left.shape[0], right.shape[1]), np.float32)
    add_product(total, left, right)
    return total
