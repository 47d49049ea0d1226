"""Blocks in the graph: MatMulNBits, and the embedding as GatherBlockQuantized.

Operators: onnxruntime, docs/ContribOperators.md.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from scripts.backends.onnx.graph import Linear, constant, embedding, replace
from scripts.errors import QuantmakeError

SIZES = (16, 32, 64, 128, 256)  # of blocks, which the operators know
_DOMAIN = "com.microsoft"


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


@dataclass(frozen=True)
class Placed:
    """The values of the graph that hold blocks."""

    packed: ir.Value
    scales: ir.Value
    zeros: ir.Value | None


def pack(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Integer codes [N, n] in bytes [N, ceil(n · bits / 8)], the first in the low nibble."""
    if bits == 8:
        return codes
    padded = np.pad(codes, ((0, 0), (0, codes.shape[1] % 2)))
    return (padded[:, ::2] | padded[:, 1::2] << 4).astype(np.uint8)


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
        else f"None of {', '.join(map(str, SIZES))} fits them all, so ONNX has no format in blocks "
        "for this model; take such artefacts out of the recipe."
    )
    raise QuantmakeError(
        f"block_size {block_size} does not divide the input width of {len(bad)} MatMuls: {names}. "
        f"{advice}"
    )


def _store(model: ir.Model, name: str, blocks: Blocks) -> Placed:
    """Add the blocks to the graph; scales in float16 are cast once, when the graph is loaded."""
    packed = constant(model, f"{name}_Q{blocks.bits}", blocks.packed)
    scales = constant(model, f"{name}_scales", blocks.scales)
    if blocks.scales.dtype == np.float16:
        cast = ir.node("Cast", [scales], {"to": ir.DataType.FLOAT}, name=f"{name}_scales_float")
        cast.outputs[0].name = f"{name}_scales_float"
        cast.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        model.graph.insert_before(model.graph[0], cast)
        scales = cast.outputs[0]
    zeros = None
    if blocks.zeros is not None:
        zeros = constant(model, f"{name}_zero_points", blocks.zeros)
    return Placed(packed, scales, zeros)


def _matmul(model: ir.Model, linear: Linear, blocks: Blocks, accuracy_level: int) -> Placed:
    """Put a MatMulNBits in the place of a MatMul; return what it reads."""
    old = linear.node
    assert old.inputs[1] is not None
    placed = _store(model, str(old.inputs[1].name), blocks)
    inputs = [old.inputs[0], placed.packed, placed.scales]
    node = ir.node(
        "MatMulNBits",
        inputs if placed.zeros is None else [*inputs, placed.zeros],
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
    return placed


def _gather(model: ir.Model, old: ir.Node, placed: Placed, blocks: Blocks) -> None:
    """Read the embedding [vocabulary, width] from blocks, viewed as two dimensions."""
    name = f"{placed.packed.name}_view"
    shape = constant(model, f"{name}_shape", np.array([blocks.packed.shape[0], -1], np.int64))
    view = ir.node("Reshape", [placed.packed, shape], name=name)
    view.outputs[0].name = name
    inputs = [view.outputs[0], old.inputs[1], placed.scales]
    node = ir.node(
        "GatherBlockQuantized",
        inputs if placed.zeros is None else [*inputs, placed.zeros],
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


def place(
    model: ir.Model,
    blocks: Iterable[tuple[Linear, Blocks]],
    *,
    accuracy_level: int,
    embedding_blocks: Callable[[NDArray[np.float32]], Blocks] | None,
) -> None:
    """Replace each of the MatMuls by its blocks; what they read stays on disk until then.

    An embedding that is the head's own weight is read from the head's blocks; another one gets
    what `embedding_blocks` makes of its weight [width, vocabulary], or stays where that is None.
    """
    lookup = embedding(model)
    shared = False
    for linear, made in blocks:
        source = linear.node.inputs[1]
        placed = _matmul(model, linear, made, accuracy_level)
        if lookup is not None and lookup[1] is source:
            _gather(model, lookup[0], placed, made)
            shared = True
    if lookup is not None and not shared and embedding_blocks is not None:
        _own_embedding(model, *lookup, embedding_blocks)


def _own_embedding(
    model: ir.Model,
    gather: ir.Node,
    table: ir.Value,
    embedding_blocks: Callable[[NDArray[np.float32]], Blocks],
) -> None:
    """Blocks of an embedding [vocabulary, width], or [width, vocabulary] behind a Transpose."""
    assert table.const_value is not None
    weight = table.const_value.numpy().astype(np.float32, copy=False)
    if gather.inputs[0] is table:
        weight = weight.T
    try:
        blocks = embedding_blocks(weight)
    except QuantmakeError as error:
        print(f"the embedding stays in FP32: {error}")
        return
    _gather(model, gather, _store(model, f"{table.name}_embedding", blocks), blocks)
