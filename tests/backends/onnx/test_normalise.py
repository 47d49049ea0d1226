"""Traced graphs come into the builder's form without a change in what they compute."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from scripts.backends.onnx.normalise import normalise
from tests.onnx_models import compute

WEIGHT = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
BIAS = np.arange(6, dtype=np.float32)


def gemm(**settings: float) -> ir.Model:
    weight = WEIGHT.T if settings.get("transB") else WEIGHT
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["logits"], "/fc/Gemm", **settings)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 6])],
        [
            onnx.numpy_helper.from_array(np.ascontiguousarray(weight), "w"),
            onnx.numpy_helper.from_array(BIAS, "b"),
        ],
    )
    return ir.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    )


@pytest.mark.parametrize(
    ("settings", "kinds"),
    [
        ({}, ["MatMul", "Add"]),
        ({"transB": 1}, ["MatMul", "Add"]),
        ({"alpha": 0.5}, ["Gemm", "MatMul"]),
        ({"beta": 0.5}, ["Gemm", "MatMul"]),
    ],
)
def test_plain_gemm_becomes_matmul_and_add(settings: dict[str, float], kinds: list[str]) -> None:
    model = gemm(**settings)
    x = np.random.default_rng(1).normal(size=(3, 8)).astype(np.float32)
    before = compute(model, {"x": x})
    # The head is a MatMul, as in every model.
    one = ir.node("MatMul", [model.graph.inputs[0], model.graph.initializers["w"]], name="/other")
    if kinds == ["Gemm", "MatMul"]:
        model.graph.append(one)
    normalise(model)
    assert [node.op_type for node in model.graph] == kinds
    np.testing.assert_allclose(compute(model, {"x": x}), before, rtol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_head_is_shared_only_where_it_equals_the_embedding(tied: bool) -> None:
    table = WEIGHT.T if tied else WEIGHT.T + 1e-3
    graph = helper.make_graph(
        [
            helper.make_node("Reshape", ["input_ids", "shape"], ["flat"], "/reshape"),
            helper.make_node("Gather", ["table", "flat"], ["x"], "/embed/Gather"),
            helper.make_node("MatMul", ["x", "w"], ["logits"], "/lm_head/MatMul"),
        ],
        "g",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 6])],
        [
            onnx.numpy_helper.from_array(np.ascontiguousarray(table), "table"),
            onnx.numpy_helper.from_array(WEIGHT, "w"),
            onnx.numpy_helper.from_array(np.array([-1], np.int64), "shape"),
        ],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    model = ir.from_proto(proto)
    feeds = {"input_ids": np.array([5, 0, 3])}
    before = compute(model, feeds)
    normalise(model)
    assert ("Transpose" in [node.op_type for node in model.graph]) == tied
    assert bool(model.graph.initializers["table"].uses()) != tied
    np.testing.assert_array_equal(compute(model, feeds), before)
