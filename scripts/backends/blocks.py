"""Blocks of integer codes, and the MatMuls of the float graph that are stored as such."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scripts.errors import QuantmakeError

SIZES = (16, 32, 64, 128, 256)  # of blocks, which the operators know


class Linear(Protocol):
    """A MatMul with a constant weight [K, N]."""

    @property
    def name(self) -> str: ...
    @property
    def columns(self) -> int:
        """K."""

    @property
    def bytes(self) -> int:
        """What the weight takes in float32."""

    def weight(self) -> NDArray[np.float32]:
        """[K, N]; raises QuantmakeError where it is not finite."""


@dataclass(frozen=True)
class Blocks:
    """Blocks along K of a weight [K, N].

    packed: uint8 [N, K / block, block · bits / 8], low nibble first; scales: float32 or float16
    [N, K / block]; zeros: uint8 [N, ceil(K / block · bits / 8)], packed likewise, or None where
    all are 2^(bits - 1). The value is (code - zero point) · scale.
    """

    packed: NDArray[np.uint8]
    scales: NDArray[np.float32] | NDArray[np.float16]
    bits: int
    block_size: int
    zeros: NDArray[np.uint8] | None = None


def pack(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Integer codes [N, n] in bytes [N, ceil(n · bits / 8)], the first in the low nibble."""
    if bits == 8:
        return codes
    padded = np.pad(codes, ((0, 0), (0, codes.shape[1] % 2)))
    return (padded[:, ::2] | padded[:, 1::2] << 4).astype(np.uint8)


def unpack(packed: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint8]:
    """The first `count` integer codes of each row of what `pack` made."""
    if bits == 8:
        return packed
    pairs = np.stack([packed & 15, packed >> 4], axis=-1)
    return pairs.reshape(len(packed), -1)[:, :count]


def refuse_unfit(linears: Sequence[Linear], block_size: int) -> None:
    """Raise QuantmakeError that names every MatMul whose K does not divide by the block size."""
    bad = [linear for linear in linears if linear.columns % block_size]
    if not bad:
        return
    fits = [size for size in SIZES if all(linear.columns % size == 0 for linear in linears)]
    names = ", ".join(f"{linear.name} ({linear.columns})" for linear in bad)
    advice = (
        f"Block sizes that fit them all: {', '.join(map(str, fits))}."
        if fits
        else f"None of {', '.join(map(str, SIZES))} fits them all, so this model can't have such "
        "blocks; take these artefacts out of the recipe."
    )
    raise QuantmakeError(
        f"block_size {block_size} does not divide the input width of {len(bad)} MatMuls: {names}. "
        f"{advice}"
    )
