"""Double quantisation: absmax of the blocks in 8 bits (Dettmers et al., QLoRA, 2023, section 3)."""

from dataclasses import dataclass

import torch
from bitsandbytes.functional import QuantState, dequantize_blockwise, quantize_blockwise

from scripts.workers import one_thread

_NESTED_BLOCK = 256
_TINY = 1e-30


@dataclass(frozen=True)
class Frame:
    """absmax is `offset` and a multiple of what `state` has for each 256 of them, by an 8-bit
    code."""

    offset: torch.Tensor
    state: QuantState

    @classmethod
    def of(cls, absmax: torch.Tensor) -> tuple["Frame", torch.Tensor]:
        """As bitsandbytes does it for absmax [blocks]: the frame and the codes, uint8 [blocks].

        The mean depends on the number of threads in its last bit: it is taken on one.
        """
        with one_thread():
            offset = absmax.mean()
            codes, state = quantize_blockwise(absmax - offset, blocksize=_NESTED_BLOCK)
        return cls(offset, state), codes

    def reach(self, count: int) -> torch.Tensor:
        """What the table is multiplied by for each of so many absmax."""
        reach: torch.Tensor = self.state.absmax.repeat_interleave(_NESTED_BLOCK)[:count]
        return reach

    def codes(self, absmax: torch.Tensor) -> torch.Tensor:
        """The codes, uint8, of the nearest that this frame can hold."""
        reach = self.reach(absmax.numel())
        ratios = (absmax.reshape(-1) - self.offset) / reach.clamp(min=_TINY)
        table = self.state.code
        middles = (table[1:] + table[:-1]) / 2
        return torch.bucketize(ratios, middles).to(torch.uint8).reshape(absmax.shape)

    def values(self, codes: torch.Tensor) -> torch.Tensor:
        """absmax of codes, bit for bit what bitsandbytes computes with."""
        values: torch.Tensor = dequantize_blockwise(codes.reshape(-1), self.state) + self.offset
        return values.reshape(codes.shape)
