"""Operations on single floats for compiled code, with the same bits on every processor."""

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

from scripts.arithmetic.compiled import COMPILED


@intrinsic
def fma(_, a, b, c):
    """a · b + c of float32 numbers, rounded once; loops over it become vectors of it."""

    def generate(__, builder, ___, arguments):
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType()] * 3)
        return builder.call(get_or_insert_function(builder.module, kind, "llvm.fma.f32"), arguments)

    return types.float32(types.float32, types.float32, types.float32), generate


@numba.njit(types.float32(types.float32), **COMPILED)
def to_float16(value):
    """The nearest number that float16 holds, as float32, ties to even; from 65,520 on infinity,
    and NaN stays NaN."""
    size = np.abs(value)
    # Below 2^-14 float16 numbers are multiples of 2^-24; above, they have 11 bits.
    low = np.rint(value * np.float32(2.0**24)) * np.float32(2.0**-24)
    bits = np.float32(value).view(np.uint32)
    bits += np.uint32(0xFFF) + ((bits >> np.uint32(13)) & np.uint32(1))
    high = np.uint32(bits & np.uint32(0xFFFFE000)).view(np.float32)
    nearest = low if size < np.float32(2.0**-14) else high
    return value * np.float32(np.inf) if size >= np.float32(65520) else nearest
