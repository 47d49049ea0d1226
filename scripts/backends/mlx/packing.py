"""Integer codes as MLX packs them: a row's codes one after another, the lowest bit first.

Source: ml-explore/mlx, python docs of `mlx.core.quantize`. Codes of 3, 5 and 6 bits reach over the
ends of bytes and words.
"""

import numpy as np
from numpy.typing import NDArray

BITS = (2, 3, 4, 5, 6, 8)
GROUPS = (32, 64, 128)
WORD = 32  # bits


def pack(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint32]:
    """Codes [N, K] in words [N, K · bits / 32]; 32 divides K."""
    rows, columns = codes.shape
    if bits == 8:
        return np.ascontiguousarray(codes).view("<u4")
    each = np.unpackbits(codes.reshape(rows, columns, 1), axis=2, count=bits, bitorder="little")
    packed = np.packbits(each.reshape(rows, -1), axis=1, bitorder="little")
    return np.ascontiguousarray(packed).view("<u4")


def unpack(words: NDArray[np.uint32], bits: int) -> NDArray[np.uint8]:
    """The codes [N, K] of what `pack` made."""
    stored = np.ascontiguousarray(words).view(np.uint8)
    if bits == 8:
        return stored
    each = np.unpackbits(stored, axis=1, bitorder="little").reshape(len(words), -1, bits)
    return np.packbits(each, axis=2, bitorder="little")[..., 0]
