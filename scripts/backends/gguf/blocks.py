"""The block layouts of GGUF types: from codes and scales to bytes, as ggml-common.h lays them out.

A value is `scale · level + offset`. The types of 32 columns keep scale and offset in FP16; the
k-quants keep them as small integers, multiples of two FP16 numbers that 256 columns share.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import IQ4_NL

from scripts.methods.block_grid import BlockGrid, Rounded, Storage

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Blocks:
    """n blocks.

    `codes` uint8 [n, block] index the grid's levels; `scale` and `offset` FP16 [n, 1] are those
    of the block; `scales` and `offsets` [n, groups] the integer multiples of them.
    """

    codes: Array
    scale: Array
    offset: Array
    scales: Array
    offsets: Array

    @classmethod
    def of(cls, rounded: Rounded, grid: BlockGrid) -> "Blocks":
        """All blocks of all rows, one row after the other."""
        groups = grid.columns // grid.group
        scales, offsets = (x.reshape(-1, groups) for x in (rounded.scales, rounded.offsets))
        if grid.storage == Storage.MULTIPLES:
            unit, low = rounded.units.reshape(-1, 1), rounded.lows.reshape(-1, 1)
        else:
            unit, low = scales, offsets
        return cls(
            rounded.codes.reshape(-1, grid.columns),
            unit.astype(np.float16),
            low.astype(np.float16),
            _multiples(scales, unit),
            _multiples(offsets, low),
        )


def _multiples(values: Array, unit: Array) -> Array:
    """Zero where the unit is zero."""
    return np.rint(np.divide(values, unit, out=np.zeros_like(values), where=unit != 0)).astype(int)


@dataclass(frozen=True)
class BlockType:
    """One type, as a grid for `scripts.methods.gptq`; `pack` makes [n, bytes] of n blocks."""

    name: str
    grid: BlockGrid
    pack: Callable[[Blocks], Array]

    @property
    def type(self) -> GGMLQuantizationType:
        """gguf's name for it."""
        return GGMLQuantizationType[self.name]

    def data(self, rounded: Rounded) -> Array:
        """The bytes of a tensor [rows, bytes of a row]."""
        return self.pack(Blocks.of(rounded, self.grid)).reshape(len(rounded.codes), -1)


def _bytes(array: Array) -> Array:
    return np.ascontiguousarray(array).view(np.uint8)


def _nibbles(codes: Array, width: int = 32) -> Array:
    """The low four bits, [n, k·width] → [n, k·width / 2]: of each `width` codes the first half
    lies in the low nibbles, the second in the high ones.
    """
    halves = (codes & 15).reshape(len(codes), -1, 2, width // 2)
    return (halves[:, :, 0] | halves[:, :, 1] << 4).reshape(len(codes), -1)


def _fifth_bits(codes: Array) -> Array:
    """[n, 32] → [n, 4], the first column in the lowest bit."""
    return np.packbits(codes >> 4, axis=-1, bitorder="little")


def _q4(blocks: Blocks) -> Array:
    return np.hstack([_bytes(blocks.scale), _nibbles(blocks.codes)])


def _q4_1(blocks: Blocks) -> Array:
    return np.hstack([_bytes(blocks.scale), _bytes(blocks.offset), _nibbles(blocks.codes)])


def _q5_0(blocks: Blocks) -> Array:
    return np.hstack([_bytes(blocks.scale), _fifth_bits(blocks.codes), _nibbles(blocks.codes)])


def _q5_1(blocks: Blocks) -> Array:
    head = [_bytes(blocks.scale), _bytes(blocks.offset)]
    return np.hstack([*head, _fifth_bits(blocks.codes), _nibbles(blocks.codes)])


def _q8_0(blocks: Blocks) -> Array:
    return np.hstack([_bytes(blocks.scale), blocks.codes - np.uint8(127)])


def _k_head(blocks: Blocks) -> list[Array]:
    """Scale, offset, and eight pairs of 6-bit integers in 12 bytes (get_scale_min_k4)."""
    s, o = blocks.scales.astype(np.uint8), blocks.offsets.astype(np.uint8)
    first = s[:, :4] | (s[:, 4:] >> 4) << 6
    second = o[:, :4] | (o[:, 4:] >> 4) << 6
    third = (s[:, 4:] & 15) | (o[:, 4:] & 15) << 4
    # llama.cpp subtracts the offset.
    return [_bytes(blocks.scale), _bytes(-blocks.offset), first, second, third]


def _q4_k(blocks: Blocks) -> Array:
    return np.hstack([*_k_head(blocks), _nibbles(blocks.codes, 64)])


def _q5_k(blocks: Blocks) -> Array:
    eighths = (blocks.codes >> 4).reshape(-1, 8, 32)  # bit i of a byte is of the i-th group
    high = np.packbits(eighths, axis=1, bitorder="little")[:, 0]
    return np.hstack([*_k_head(blocks), high, _nibbles(blocks.codes, 64)])


def _q6_k(blocks: Blocks) -> Array:
    low = _nibbles(blocks.codes, 128)
    quarters = (blocks.codes >> 4).reshape(-1, 2, 4, 32)
    high = quarters[:, :, 0] | quarters[:, :, 1] << 2 | quarters[:, :, 2] << 4
    high = (high | quarters[:, :, 3] << 6).reshape(len(low), -1)
    return np.hstack([low, high, _bytes(blocks.scales.astype(np.int8)), _bytes(blocks.scale)])


def _whole(first: int, last: int) -> tuple[int, ...]:
    return tuple(range(first, last + 1))


def _k_grid(last: int) -> BlockGrid:
    return BlockGrid(_whole(0, last), 32, 256, True, Storage.MULTIPLES, (0, 63))


BLOCK_TYPES = {
    one.name.lower(): one
    for one in (
        BlockType("IQ4_NL", BlockGrid(IQ4_NL.kvalues, 32), _q4),
        BlockType("Q4_0", BlockGrid(_whole(-8, 7), 32), _q4),
        BlockType("Q4_1", BlockGrid(_whole(0, 15), 32, with_offset=True), _q4_1),
        BlockType("Q5_0", BlockGrid(_whole(-16, 15), 32), _q5_0),
        BlockType("Q5_1", BlockGrid(_whole(0, 31), 32, with_offset=True), _q5_1),
        BlockType("Q8_0", BlockGrid(_whole(-127, 127), 32), _q8_0),
        BlockType("Q4_K", _k_grid(15), _q4_k),
        BlockType("Q5_K", _k_grid(31), _q5_k),
        BlockType(
            "Q6_K",
            BlockGrid(_whole(-32, 31), 16, 256, False, Storage.MULTIPLES, (-128, 127)),
            _q6_k,
        ),
    )
}
# What GPTQ's order keeps together for all of them: blocks of k-quants, of the others, groups of
# Q6_K; each divides the one before.
NESTED = (256, 32, 16)
DAMPING = 0.01  # of the Hessian's mean diagonal, as in the paper's code
