"""Blocks against float64, and the nodes that compute with them."""

import numpy as np
import onnx_ir as ir
import pytest

from scripts.backends.blocks import Blocks
from scripts.backends.onnx.blocks.nearest import quantise, quantise_linears
from scripts.backends.onnx.graph import constant, linears
from scripts.errors import QuantmakeError
from tests.onnx_models import compute, one_matmul


def unpack(blocks: Blocks) -> np.ndarray:
    """Integers [N, K / block, block] of packed blocks."""
    if blocks.bits == 8:
        return blocks.packed
    pairs = np.stack([blocks.packed & 15, blocks.packed >> 4], axis=-1)
    return pairs.reshape(*blocks.packed.shape[:2], blocks.block_size)


def restore(blocks: Blocks) -> np.ndarray:
    """The weight [K, N] that blocks stand for."""
    values = (unpack(blocks) - 2.0 ** (blocks.bits - 1)) * blocks.scales[..., None]
    return values.reshape(len(values), -1).T


@pytest.fixture
def weight() -> np.ndarray:
    weight = np.random.default_rng(0).normal(size=(256, 24)).astype(np.float32)
    weight[:64, 3] = 0
    return weight


@pytest.mark.parametrize("block_size", [16, 32, 64, 128, 256])
@pytest.mark.parametrize("bits", [4, 8])
def test_blocks_are_those_of_the_formula_in_float64(
    bits: int, block_size: int, weight: np.ndarray
) -> None:
    blocks = quantise(weight, bits, block_size)
    half = 2 ** (bits - 1)
    values = weight.astype(np.float64).T.reshape(24, 256 // block_size, block_size)
    place = np.abs(values).argmax(-1)[..., None]
    # The value that is furthest from zero becomes the most negative integer.
    scales = np.take_along_axis(values, place, -1) / -half
    ratio = np.divide(values, scales, out=np.zeros_like(values), where=scales != 0)
    wanted = np.clip(np.round(ratio) + half, 0, 2 * half - 1)
    np.testing.assert_array_equal(blocks.scales, scales[..., 0].astype(np.float32))
    np.testing.assert_array_equal(unpack(blocks), wanted)


@pytest.mark.parametrize("bits", [4, 8])
def test_node_multiplies_with_the_restored_weight(bits: int, weight: np.ndarray) -> None:
    model = one_matmul(weight)
    bits_of = {"bits": bits, "head_bits": bits}
    quantise_linears(model, linears(model), **bits_of, block_size=32, accuracy_level=1)
    assert [node.op_type for node in model.graph] == ["MatMulNBits"]
    x = np.random.default_rng(1).normal(size=(5, 256)).astype(np.float32)
    wanted = x @ restore(quantise(weight, bits, 32))
    np.testing.assert_allclose(compute(model, {"x": x}), wanted, atol=1e-3)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("tied", [True, False])
def test_embedding_is_read_from_blocks(bits: int, tied: bool, weight: np.ndarray) -> None:
    model = one_matmul(weight)
    ids = ir.Value(name="input_ids", shape=ir.Shape(["n"]), type=ir.TensorType(ir.DataType.INT64))
    out = ir.Value(name="hidden", type=ir.TensorType(ir.DataType.FLOAT))
    turned = ir.node("Transpose", [model.graph.initializers["weight"]], {"perm": [1, 0]})
    table = turned.outputs[0] if tied else constant(model, "table", weight.T)
    gather = ir.node("Gather", [table, ids], {"axis": 0}, outputs=[out], name="/embed/Gather")
    model.graph.inputs.append(ids)
    model.graph.extend([turned, gather] if tied else [gather])
    model.graph.outputs.insert(0, gather.outputs[0])
    quantise_linears(model, linears(model), bits=4, head_bits=bits, block_size=32, accuracy_level=4)
    read = next(node for node in model.graph if node.op_type == "GatherBlockQuantized")
    product = next(node for node in model.graph if node.op_type == "MatMulNBits")
    assert (read.inputs[2] is product.inputs[2]) == tied
    wanted = restore(quantise(weight, bits, 32)).T[[23, 3, 0]]
    feeds = {"x": np.zeros((1, 256), np.float32), "input_ids": np.array([23, 3, 0])}
    np.testing.assert_array_equal(compute(model, feeds), wanted.astype(np.float32))


def test_every_width_that_does_not_divide_is_named_with_the_sizes_that_fit() -> None:
    model = one_matmul(np.ones((96, 4), np.float32))
    with pytest.raises(QuantmakeError) as caught:
        quantise_linears(
            model, linears(model) * 2, bits=4, head_bits=4, block_size=64, accuracy_level=4
        )
    assert str(caught.value) == (
        "block_size 64 does not divide the input width of 2 MatMuls: /lm_head/MatMul (96), "
        "/lm_head/MatMul (96). Block sizes that fit them all: 16, 32."
    )


def test_weight_that_is_not_finite_is_named() -> None:
    weight = np.ones((32, 4), np.float32)
    weight[3, 2] = np.nan
    model = one_matmul(weight)
    with pytest.raises(QuantmakeError) as caught:
        quantise_linears(
            model, linears(model), bits=8, head_bits=8, block_size=32, accuracy_level=4
        )
    assert str(caught.value) == (
        "/lm_head/MatMul: its weight holds NaN or infinity; mend the source model"
    )
