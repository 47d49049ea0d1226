"""Rounding to nearest in blocks with onnxruntime's own kernels.

They are those behind its MatMulNBitsQuantizer; that class takes the whole graph into memory, this
does not.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnxruntime.capi._pybind_state import quantize_matmul_4bits, quantize_matmul_8bits

from scripts.backends.blocks import Blocks, refuse_unfit
from scripts.backends.onnx.blocks.nodes import place
from scripts.backends.onnx.graph import Linear, head
from scripts.errors import QuantmakeError
from scripts.progress import track

_KERNELS = {4: quantize_matmul_4bits, 8: quantize_matmul_8bits}


def quantise(weight: NDArray[np.float32], bits: int, block_size: int) -> Blocks:
    """Round a weight [K, N] to the nearest of symmetric blocks; K divides by the block size."""
    rows, columns = weight.shape
    if rows % block_size:
        raise QuantmakeError(f"block_size {block_size} does not divide its width {rows}")
    blocks = rows // block_size
    packed = np.zeros((columns, blocks, block_size * bits // 8), np.uint8)
    scales = np.zeros((columns, blocks), np.float32)
    unused = np.zeros((columns, (blocks * bits + 7) // 8), np.uint8)
    _KERNELS[bits](
        packed, np.ascontiguousarray(weight), scales, unused, block_size, columns, rows, True
    )
    return Blocks(packed, scales, bits, block_size)


def quantise_linears(
    model: ir.Model,
    chosen: Sequence[Linear],
    *,
    bits: int,
    block_size: int,
    accuracy_level: int,
    head_bits: int,
) -> None:
    """Turn the chosen MatMuls into MatMulNBits rounded to nearest, and the embedding into blocks.

    The head, and an embedding of its own, get `head_bits`. Raises QuantmakeError where the block
    size does not divide.
    """
    refuse_unfit(chosen, block_size)
    last = head(model)

    def rounded(linear: Linear) -> Blocks:
        is_head = last is not None and linear.node is last.node
        return quantise(linear.weight(), head_bits if is_head else bits, block_size)

    place(
        model,
        (
            (linear, rounded(linear))
            for linear in track(list(chosen), "quantising", lambda one: one.bytes)
        ),
        accuracy_level=accuracy_level,
        embedding_blocks=lambda weight: quantise(weight, head_bits, block_size),
    )
