"""What GPTQ rounds to on GGUF's blocks, and what comes out: grids, and blocks of codes."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, Any]


class BlockGrid(Protocol):
    """What a weight can become: a value is `scale · level + offset`.

    `group` columns have one scale, and one offset where the grid is `with_offset`; `block` columns
    are stored together. `levels` ascend. `scales` is None where scales and offsets are FP16; else
    they are integers of this range, times an FP16 number that a block has for each of the two, and
    no offset is above zero.
    """

    @property
    def block(self) -> int: ...
    @property
    def group(self) -> int: ...
    @property
    def levels(self) -> tuple[int, ...]: ...
    @property
    def with_offset(self) -> bool: ...
    @property
    def scales(self) -> tuple[int, int] | None: ...


@dataclass(frozen=True)
class Blocks:
    """The same block of each of n rows.

    `codes` uint8 [n, block] index the grid's levels; `scale` and `offset` FP16 [n, 1] are those
    of the block; `scales` and `offsets` [n, groups] the integer multiples of them.
    """

    codes: Array
    scale: Array
    offset: Array
    scales: Array
    offsets: Array

    @classmethod
    def of_rows(cls, parts: Sequence["Blocks"]) -> "Blocks":
        """The rows of all the parts."""
        by_field = ([getattr(part, one.name) for part in parts] for one in fields(cls))
        return cls(*map(np.concatenate, by_field))


@dataclass(frozen=True)
class Rounded:
    """`blocks`: one after the other along a row; `loss` [rows]: dW H dWᵀ of each row, of H as it
    was measured: what damping adds guards the rounding, and no output gets worse by it."""

    blocks: list[Blocks]
    loss: Tensor

    @classmethod
    def of_rows(cls, parts: Sequence["Rounded"]) -> "Rounded":
        """The rows of all the parts."""
        blocks = zip(*(part.blocks for part in parts), strict=True)
        return cls([Blocks.of_rows(same) for same in blocks], torch.cat([p.loss for p in parts]))
