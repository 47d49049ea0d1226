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


def _tile_of(features: dict[str, bool]) -> tuple[int, int]:
    """Bytes of a vector, and rows of a tile: as many as the processor has registers for."""
    if features.get("avx512f"):
        return 64, 8
    return (32, 4) if features.get("avx2") else (16, 8)


_VECTOR_BYTES, _ROWS = _tile_of(binding.get_host_cpu_features())
_LANES = _VECTOR_BYTES // 4
_VECTORS = 3
_COLUMNS = _LANES * _VECTORS
# A panel of B stays in the second cache, one of A in the first.
_DEPTH, _WIDTH, _HEIGHT = 384, 40 * _COLUMNS, 128
_FLOAT, _INT = ir.FloatType(), ir.IntType(64)
_VECTOR = ir.VectorType(_FLOAT, _LANES)


_READ = types.Array(types.float32, 2, "A", readonly=True)
_WRITTEN = types.Array(types.float32, 2, "A")
_COMPILED: dict[str, Any] = {"nogil": True, "cache": True}


@intrinsic
def _add_tile(_, depth, a, b, c, stride):
    """C [_ROWS, _COLUMNS] += A B at the addresses a, b, c, of `depth` terms in their order.

    A is stored as [depth, _ROWS], B as [depth, _COLUMNS], a row of C each `stride` floats.
    """

    def generate(context, builder, _, arguments):
        depth, *places, stride = arguments
        a, b, c = (builder.inttoptr(place, _FLOAT.as_pointer()) for place in places)
        kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        fma = get_or_insert_function(builder.module, kind, f"llvm.fma.v{_LANES}f32")
        undefined, zeros = ir.Constant(_VECTOR, ir.Undefined), [0] * _LANES
        mask = ir.Constant(ir.VectorType(ir.IntType(32), _LANES), zeros)

        def vector_at(base, offset):
            return builder.bitcast(builder.gep(base, [offset]), _VECTOR.as_pointer())

        def load(pointer):
            loaded = builder.load(pointer)
            loaded.align = 4
            return loaded

        def repeated(base, offset):
            value = builder.load(builder.gep(base, [offset]))
            first = builder.insert_element(undefined, value, ir.IntType(32)(0))
            return builder.shuffle_vector(first, undefined, mask)

        cells = [
            vector_at(c, builder.add(builder.mul(stride, _INT(row)), _INT(at * _LANES)))
            for row in range(_ROWS)
            for at in range(_VECTORS)
        ]
        start = [load(cell) for cell in cells]
        before = builder.block
        loop, done = builder.append_basic_block("terms"), builder.append_basic_block("done")
        builder.branch(loop)
        builder.position_at_end(loop)
        term = builder.phi(_INT)
        sums = [builder.phi(_VECTOR) for _ in cells]
        at_a, at_b = (builder.mul(term, _INT(width)) for width in (_ROWS, _COLUMNS))
        right = [load(vector_at(b, builder.add(at_b, _INT(at * _LANES)))) for at in range(_VECTORS)]
        left = [repeated(a, builder.add(at_a, _INT(row))) for row in range(_ROWS)]
        pairs = [(one, other) for one in left for other in right]
        added = [builder.call(fma, [*pair, total]) for pair, total in zip(pairs, sums, strict=True)]
        following = builder.add(term, _INT(1))
        for phi, first, then in ((term, _INT(0), following), *zip(sums, start, added, strict=True)):
            phi.add_incoming(first, before)
            phi.add_incoming(then, loop)
        builder.cbranch(builder.icmp_signed("<", following, depth), loop, done)
        builder.position_at_end(done)
        for cell, total in zip(cells, added, strict=True):
            builder.store(total, cell).align = 4
        return context.get_dummy_value()

    addresses = (types.uintp, types.uintp, types.uintp)
    return types.void(types.intp, *addresses, types.intp), generate


@numba.njit(types.void(_READ, types.float32[::1], types.intp, types.float32), **_COMPILED)
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


@numba.njit(types.void(types.uintp, types.uintp, types.intp, _WRITTEN), **_COMPILED)
def _add_edge(at_a, at_b, terms, part):
    """As `_add_tile` for a part of C that is smaller than a tile."""
    tile = np.zeros((_ROWS, _COLUMNS), np.float32)
    rows, columns = part.shape
    for row in range(rows):
        for column in range(columns):
            tile[row, column] = part[row, column]
    _add_tile(terms, at_a, at_b, tile.ctypes.data, _COLUMNS)
    for row in range(rows):
        for column in range(columns):
            part[row, column] = tile[row, column]


@numba.njit(types.void(_READ, _READ, _WRITTEN, types.float32), **_COMPILED)
def _add_product(a, b, c, factor):
    """C [M, N] += factor · A [M, K] B [K, N]; the rows of C lie each in one piece."""
    rows, depth, columns = a.shape[0], a.shape[1], b.shape[1]
    packed_a = np.empty((rows + _ROWS) * min(depth, _DEPTH), np.float32)
    packed_b = np.empty((min(columns, _WIDTH) + _COLUMNS) * min(depth, _DEPTH), np.float32)
    for right in range(0, columns, _WIDTH):
        width = min(_WIDTH, columns - right)
        for start in range(0, depth, _DEPTH):
            terms = min(_DEPTH, depth - start)
            inner = slice(start, start + terms)
            _pack(b[inner, right : right + width], packed_b, _COLUMNS, np.float32(1))
            _pack(a[:, inner].T, packed_a, _ROWS, factor)
            for top in range(0, rows, _HEIGHT):
                for j in range(0, width, _COLUMNS):
                    at_b, n = packed_b.ctypes.data + 4 * j * terms, min(_COLUMNS, width - j)
                    for i in range(top, min(top + _HEIGHT, rows), _ROWS):
                        at_a, m = packed_a.ctypes.data + 4 * i * terms, min(_ROWS, rows - i)
                        if m == _ROWS and n == _COLUMNS:
                            place = c.ctypes.data + i * c.strides[0] + 4 * (right + j)
                            _add_tile(terms, at_a, at_b, place, c.strides[0] // 4)
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
    _add_product(left, right, total, np.float32(factor))


def product(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """left [M, K] right [K, N]."""
    total = np.zeros((left.shape[0], right.shape[1]), np.float32)
    add_product(total, left, right)
    return total
