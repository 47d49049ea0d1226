"""Weight-only quantisation: MatMulNBits, and the embedding as GatherBlockQuantized.

Operators: onnxruntime, docs/ContribOperators.md. The block kernels are onnxruntime's own, those
behind its MatMulNBitsQuantizer; that class takes the whole graph into memory, this does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnxruntime.capi._pybind_state import quantize_matmul_4bits, quantize_matmul_8bits

from scripts.errors import QuantmakeError
from scripts.onnx_files.graph import Linear, constant, embedding, head, replace
from scripts.progress import track

_KERNELS = {4: quantize_matmul_4bits, 8: quantize_matmul_8bits}
_DOMAIN = "com.microsoft"


@dataclass(frozen=True)
class Blocks:
    """Symmetric blocks along K of a weight [K, N].

    packed: uint8 [N, K / block, block · bits / 8], low nibble first; scales: float32 [N, K /
    block]. The value is (q - 2^(bits - 1)) · scale.
    """

    packed: NDArray[np.uint8]
    scales: NDArray[np.float32]
    bits: int
    block_size: int


def quantise(weight: NDArray[np.float32], bits: int, block_size: int) -> Blocks:
    """Round a weight [K, N] to the nearest of symmetric blocks; K divides by the block size."""
    rows, columns = weight.shape
    blocks = rows // block_size
    packed = np.zeros((columns, blocks, block_size * bits // 8), np.uint8)
    scales = np.zeros((columns, blocks), np.float32)
    unused = np.zeros((columns, (blocks * bits + 7) // 8), np.uint8)
    _KERNELS[bits](
        packed, np.ascontiguousarray(weight), scales, unused, block_size, columns, rows, True
    )
    return Blocks(packed, scales, bits, block_size)


def refuse_misfits(found: Sequence[Linear], block_size: int) -> None:
    """Raise QuantmakeError that names every MatMul whose K does not divide by the block size."""
    bad = [linear for linear in found if linear.columns % block_size]
    if not bad:
        return
    fits = [
        size
        for size in (16, 32, 64, 128, 256)
        if all(linear.columns % size == 0 for linear in found)
    ]
    names = ", ".join(f"{linear.name} ({linear.columns})" for linear in bad)
    raise QuantmakeError(
        f"block_size {block_size} does not divide the input width of {len(bad)} MatMuls: {names}. "
        f"Block sizes that fit them all: {', '.join(map(str, fits)) or 'none'}."
    )


def _matmul(
    model: ir.Model, linear: Linear, blocks: Blocks, accuracy_level: int
) -> tuple[ir.Value, ir.Value]:
    """Put a MatMulNBits in the place of a MatMul; return its weight and its scales."""
    old = linear.node
    assert old.inputs[1] is not None
    name = old.inputs[1].name
    packed = constant(model, f"{name}_Q{blocks.bits}", blocks.packed)
    scales = constant(model, f"{name}_scales", blocks.scales)
    node = ir.node(
        "MatMulNBits",
        [old.inputs[0], packed, scales],
        {
            "K": linear.columns,
            "N": blocks.packed.shape[0],
            "bits": blocks.bits,
            "block_size": blocks.block_size,
            "accuracy_level": accuracy_level,
        },
        domain=_DOMAIN,
        name=f"{linear.name}_Q{blocks.bits}",
    )
    replace(model, old, [node])
    return packed, scales


def _gather(
    model: ir.Model, old: ir.Node, packed: ir.Value, scales: ir.Value, blocks: Blocks
) -> None:
    """Read the embedding [vocabulary, width] from blocks, viewed as two dimensions."""
    rows = blocks.packed.shape[0]
    name = f"{packed.name}_view"
    shape = constant(model, f"{name}_shape", np.array([rows, -1], np.int64))
    view = ir.node("Reshape", [packed, shape], name=name)
    view.outputs[0].name = name
    node = ir.node(
        "GatherBlockQuantized",
        [view.outputs[0], old.inputs[1], scales],
        {
            "bits": blocks.bits,
            "block_size": blocks.block_size,
            "gather_axis": 0,
            "quantize_axis": 1,
        },
        domain=_DOMAIN,
        name=f"{old.name}_Q{blocks.bits}",
    )
    replace(model, old, [view, node])


def quantise_linears(
    model: ir.Model,
    chosen: Sequence[Linear],
    *,
    bits: int,
    block_size: int,
    accuracy_level: int,
    head_bits: int | None = None,
) -> None:
    """Make every chosen MatMul weight-only, and the embedding too.

    A head that is tied to the embedding is stored once: the Gather reads views of the head's
    blocks. Any other embedding gets blocks of its own, of `head_bits`. Raises QuantmakeError
    where the block size does not divide.
    """
    refuse_misfits(chosen, block_size)
    found, last = embedding(model), head(model)
    shared = False
    for linear in track(list(chosen), "quantising"):
        is_head = last is not None and linear.node is last.node
        source = linear.node.inputs[1]
        blocks = quantise(linear.weight(), (head_bits or bits) if is_head else bits, block_size)
        packed, scales = _matmul(model, linear, blocks, accuracy_level)
        if found is not None and found[1] is source:
            _gather(model, found[0], packed, scales, blocks)
            shared = True
    if found is not None and not shared:
        _own_embedding(model, *found, bits=head_bits or bits, block_size=block_size)


def _own_embedding(
    model: ir.Model, gather: ir.Node, table: ir.Value, *, bits: int, block_size: int
) -> None:
    """Blocks of an embedding [vocabulary, width], or [width, vocabulary] behind a Transpose."""
    assert table.const_value is not None
    weight = table.const_value.numpy().astype(np.float32, copy=False)
    if gather.inputs[0] is table:
        weight = weight.T
    if weight.shape[0] % block_size:
        print(f"the embedding stays in FP32: block_size {block_size} does not divide its width")
        return
    blocks = quantise(weight, bits, block_size)
    packed = constant(model, f"{table.name}_embedding_Q{bits}", blocks.packed)
    scales = constant(model, f"{table.name}_embedding_scales", blocks.scales)
    _gather(model, gather, packed, scales, blocks)
