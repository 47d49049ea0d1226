"""The grid of bitsandbytes' 4-bit blocks: 16 levels, and absmax as the file stores it.

Weights are [N, K] here, one row per output; each run of `block_size` columns of a row is a block,
whose values are level · absmax. absmax is [N, K / block_size].
"""

from dataclasses import dataclass

import numpy as np
import torch
from bitsandbytes.functional import get_4bit_type

from scripts.backends.bitsandbytes.double_quantisation import Frame
from scripts.methods.block_grid import BlockGrid, Coded, Storage


@dataclass(frozen=True)
class Levels:
    """The 16 values of a 4-bit type, ascending; `order` [16] are their codes in the file."""

    values: tuple[float, ...]
    order: torch.Tensor

    @classmethod
    def of(cls, quant_type: str) -> "Levels":
        """Those of `nf4` or `fp4`, which has zero twice."""
        table = get_4bit_type(quant_type, device="cpu")
        order = torch.argsort(table, stable=True)
        return cls(tuple(table[order].tolist()), order)

    def grid(self, block_size: int, storage: Storage) -> BlockGrid:
        """With one absmax for each block."""
        return BlockGrid(self.values, block_size, storage=storage)

    def pack(self, places: torch.Tensor) -> torch.Tensor:
        """Codes of the values at `places` [N, K] as the file has them: uint8 [N · K / 2, 1], the
        first of each pair in the high nibble."""
        codes = self.order[places.reshape(-1).long()].to(torch.uint8)
        return (codes[::2] << 4 | codes[1::2])[:, None]


def storable(frame: Frame, shape: tuple[int, ...]) -> Coded:
    """What absmax [N, K / block_size] of this shape can be in a frame."""
    table = frame.state.code.numpy().astype(np.float32)
    return Coded(
        table, float(frame.offset), frame.reach(shape[0] * shape[1]).numpy().reshape(shape)
    )
