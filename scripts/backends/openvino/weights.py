"""Compressed weights: integer codes that the CPU plugin multiplies with as they are.

In the model they are a constant of 4 or 8 bits, converted to float16, less its zero points, times
its scales. The plugin, and OpenVINO's own tools, know this chain as a compressed weight.
"""

from collections.abc import Callable, Iterable

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from scripts.backends.blocks import Blocks, pack, unpack
from scripts.backends.openvino.graph import Linear, embedding, table_of
from scripts.errors import QuantmakeError

_CODES = {4: ov.Type.u4, 8: ov.Type.u8}
_SIGNED = {4: ov.Type.i4, 8: ov.Type.i8}
_SIGNS = {4: 0x88, 8: 0x80}  # what turns a byte of codes into their distances from the middle


def compressed(blocks: Blocks, name: str) -> ov.Output:
    """The weight [N, K] in float32, as a chain of operations from its codes on."""
    rows, count = blocks.scales.shape
    bits, size = blocks.bits, blocks.block_size
    if blocks.zeros is None:
        signed = blocks.packed ^ np.uint8(_SIGNS[bits])
        codes = _constant(signed, [rows, count, size], _SIGNED[bits], f"{name}.codes")
        levels = ops.convert(codes, "f16")
    else:
        packed = _packed(unpack(blocks.zeros, bits, count), bits)
        codes = _constant(blocks.packed, [rows, count, size], _CODES[bits], f"{name}.codes")
        zeros = _constant(packed, [rows, count, 1], _CODES[bits], f"{name}.zero_points")
        levels = ops.subtract(ops.convert(codes, "f16"), ops.convert(zeros, "f16"))
    kept = np.ascontiguousarray(blocks.scales, np.float16).view(np.uint8)
    scales = _constant(kept, [rows, count, 1], ov.Type.f16, f"{name}.scales")
    whole = ops.reshape(ops.multiply(levels, scales), np.array([rows, count * size]), False)
    return ops.convert(whole, "f32").output(0)


def _packed(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Codes [N, n] without a gap between the rows."""
    if bits == 8:
        return codes
    return pack(codes.reshape(1, -1), bits)


def _constant(packed: NDArray[np.uint8], shape: list[int], kind: ov.Type, name: str) -> ov.Node:
    """Of the bytes as they are stored."""
    tensor = ov.Tensor(np.ascontiguousarray(packed).reshape(-1), ov.Shape(shape), kind)
    node = ops.constant(tensor, shared_memory=False)
    node.set_friendly_name(name)
    return node


def place(
    model: ov.Model,
    blocks: Iterable[tuple[Linear, Blocks]],
    embedding_blocks: Callable[[NDArray[np.float32]], Blocks],
) -> None:
    """Give each of the MatMuls its compressed weight; what they read stays on disk until then.

    An embedding that is the head's own weight reads the head's codes; another one gets what
    `embedding_blocks` makes of its weight [width, vocabulary].
    """
    lookup = embedding(model)
    table, turned = (table_of(lookup) or (None, False)) if lookup is not None else (None, False)
    shared = "" if table is None else table.get_friendly_name()
    for linear, made in blocks:
        node, source = linear.node, linear.constant().get_friendly_name()
        weight = compressed(made, source)
        product = ops.matmul(node.input_value(0), weight, False, True)
        product.set_friendly_name(linear.name)
        node.output(0).replace(product.output(0))
        if lookup is not None and source == shared and turned:
            lookup.input(0).replace_source_output(weight)
            lookup = None
    if lookup is not None and table is not None:
        rows = table.data.astype(np.float32)
        try:
            made = embedding_blocks(rows if turned else rows.T)
            lookup.input(0).replace_source_output(compressed(made, shared))
        except QuantmakeError as error:
            print(f"the embedding stays in FP32: {error}")
    model.validate_nodes_and_infer_types()
