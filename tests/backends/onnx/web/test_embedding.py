"""The embedding by ONNX's own operators: the same floats as onnxruntime's GatherBlockQuantized."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from scripts.backends.onnx.web.embedding import spell_out_embedding
from scripts.errors import QuantmakeError

ROWS, BLOCK = 40, 32


def lookup(bits: int, blocks: int, *, zeros: bool) -> onnx.ModelProto:
    """A graph that reads tokens [batch, tokens] from an embedding in blocks."""
    draw = np.random.default_rng(0)
    packed = draw.integers(0, 256, (ROWS, blocks, BLOCK * bits // 8)).astype(np.uint8)
    constants = {
        "packed": packed,
        "shape": np.array([ROWS, -1], np.int64),
        "scales": draw.normal(size=(ROWS, blocks)).astype(np.float32),
    }
    if zeros:
        constants["zeros"] = draw.integers(0, 256, (ROWS, (blocks * bits + 7) // 8)).astype(
            np.uint8
        )
    inputs = ["view", "input_ids", "scales", *["zeros"] * zeros]
    settings = {"bits": bits, "block_size": BLOCK, "gather_axis": 0, "quantize_axis": 1}
    nodes = [
        helper.make_node("Reshape", ["packed", "shape"], ["view"], "view"),
        helper.make_node(
            "GatherBlockQuantized", inputs, ["out"], "/Gather", domain="com.microsoft", **settings
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "lookup",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", "tokens", "width"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def values(model: onnx.ModelProto) -> np.ndarray:
    """What the graph reads for some tokens."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"input_ids": np.array([[0, 7, 39], [1, 1, 8]])})[0]


@pytest.mark.parametrize("zeros", [False, True], ids=["symmetric", "zeros"])
@pytest.mark.parametrize("blocks", [4, 3])
@pytest.mark.parametrize("bits", [4, 8])
def test_same_floats_bit_for_bit(bits: int, blocks: int, zeros: bool) -> None:
    model = lookup(bits, blocks, zeros=zeros)
    wanted = values(model)
    spell_out_embedding(model)
    assert {node.op_type for node in model.graph.node}.isdisjoint({"GatherBlockQuantized"})
    assert "view" not in {node.name for node in model.graph.node}
    onnx.checker.check_model(model)
    np.testing.assert_array_equal(values(model), wanted)


def test_a_table_of_another_shape_is_refused_by_name() -> None:
    model = lookup(8, 4, zeros=False)
    packed = model.graph.initializer[0]
    packed.CopyFrom(numpy_helper.from_array(np.zeros((ROWS, 128), np.uint8), "packed"))
    with pytest.raises(QuantmakeError) as caught:
        spell_out_embedding(model)
    assert str(caught.value) == (
        "/Gather reads an embedding that is not in blocks [vocabulary, blocks, bytes]; quantise "
        "the float graph with a format of this project"
    )
