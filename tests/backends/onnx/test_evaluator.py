"""The evaluator: what onnxruntime computes, with bits that no processor and no thread changes."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from scripts.backends.onnx.contrib import exact_product
from scripts.backends.onnx.evaluator import Evaluator
from scripts.backends.onnx.export import OnnxGraph
from scripts.backends.onnx.graph import open_graph
from scripts.backends.onnx.loader import OrtModel
from scripts.errors import QuantmakeError
from scripts.exec import run_stage
from scripts.token_windows import read_windows
from tests.onnx_models import write_other_base

RNG = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def test_a_decoder_predicts_what_onnxruntime_predicts(
    tiny_graph: Path, tiny_calibration: Path
) -> None:
    tokens = read_windows(tiny_calibration)[0]
    [(name, mine)] = Evaluator(open_graph(tiny_graph)).values(["logits"], tokens)
    assert name == "logits"
    theirs = OrtModel(tiny_graph, 1, len(tokens)).scores(tokens.astype(np.int64), 0)
    np.testing.assert_allclose(mine[0], theirs, atol=2e-4)


@pytest.mark.slow  # it exports by optimum, and attends by plain operators in numpy
def test_so_does_a_graph_of_plain_operators(
    tiny_base: Path, tiny_calibration: Path, tmp_path: Path
) -> None:
    base = write_other_base("gpt2", tmp_path / "base", tiny_base)
    run_stage(OnnxGraph(), {"base": base}, tmp_path / "graph")
    tokens = read_windows(tiny_calibration)[0, :50]
    [(_, mine)] = Evaluator(open_graph(tmp_path / "graph")).values(["logits"], tokens)
    theirs = OrtModel(tmp_path / "graph", 1, 128).scores(tokens.astype(np.int64), 0)
    np.testing.assert_allclose(mine[0], theirs, atol=2e-4)


def test_a_value_is_read_in_the_place_of_another(tiny_graph: Path, tiny_calibration: Path) -> None:
    tokens = read_windows(tiny_calibration)[0, :9]
    names = [f"/model/layers.{layer}/mlp/down_proj/MatMul/output_0" for layer in (0, 1)]
    evaluator = Evaluator(open_graph(tiny_graph))
    plain = dict(evaluator.values([*names, "logits"], tokens))
    other = dict(evaluator.values(["logits"], tokens, {names[1]: names[0]}))
    assert not np.array_equal(plain["logits"], other["logits"])
    assert np.array_equal(dict(evaluator.values(["logits"], tokens))["logits"], plain["logits"])


ATTENTIONS: list[dict[str, Any]] = [
    {},
    {"local_window_size": 3},
    {"softcap": 2.0},
    {"scale": 0.3},
    {"rotary_interleaved": 1},
    {"smooth_softmax": 1},
]


@pytest.mark.parametrize("attributes", ATTENTIONS, ids=str)
@pytest.mark.parametrize("packed", [True, False])
def test_attention_is_onnxruntimes(attributes: dict[str, Any], packed: bool) -> None:
    heads, shared, width, length = 4, 2, 16, 7
    sizes = (
        [(heads + 2 * shared) * width] if packed else [n * width for n in (heads, shared, shared)]
    )
    values = {f"x{at}": floats(1, length, size) for at, size in enumerate(sizes)}
    names = [
        *values,
        *[""] * (3 - len(sizes)),
        "past_k",
        "past_v",
        "lengths",
        "total",
        "cos",
        "sin",
    ]
    angles = np.outer(np.arange(32), 0.7 ** np.arange(width // 2)).astype(np.float32)
    feeds = {
        **values,
        "past_k": np.zeros((1, shared, 0, width), np.float32),
        "past_v": np.zeros((1, shared, 0, width), np.float32),
        "lengths": np.array([length - 1], np.int32),
        "total": np.array(length, np.int32),
        "cos": np.cos(angles),
        "sin": np.sin(angles),
    }
    kinds = {"num_heads": heads, "kv_num_heads": shared, "do_rotary": 1, **attributes}
    _same_as_onnxruntime("GroupQueryAttention", names, feeds, 3, kinds)


@pytest.mark.parametrize(
    ("kind", "shapes", "outputs", "attributes"),
    [
        ("SkipSimplifiedLayerNormalization", [(1, 5, 8), (1, 5, 8), (8,)], 4, {"epsilon": 1e-5}),
        ("SkipLayerNormalization", [(1, 5, 8), (1, 5, 8), (8,), (8,)], 4, {"epsilon": 1e-5}),
        ("SkipLayerNormalization", [(1, 5, 8), (1, 5, 8), (8,), (8,), (8,)], 4, {}),
        ("FastGelu", [(2, 9), (9,)], 1, {}),
        ("QuickGelu", [(2, 9)], 1, {"alpha": 1.5}),
        ("Gelu", [(2, 9)], 1, {}),
    ],
)
def test_operator_is_onnxruntimes(
    kind: str, shapes: list[tuple[int, ...]], outputs: int, attributes: dict[str, Any]
) -> None:
    feeds = {f"x{at}": floats(*shape) for at, shape in enumerate(shapes)}
    _same_as_onnxruntime(kind, list(feeds), feeds, outputs, attributes)


@pytest.mark.parametrize("dimensions", [3, 4])
@pytest.mark.parametrize("interleaved", [0, 1])
def test_rotary_embedding_is_onnxruntimes(dimensions: int, interleaved: int) -> None:
    angles = np.outer(np.arange(32), 0.7 ** np.arange(4)).astype(np.float32)
    shape = (1, 5, 16) if dimensions == 3 else (1, 2, 5, 8)
    feeds = {
        "x": floats(*shape),
        "at": np.array([[3, 4, 5, 6, 7]], np.int64),
        "cos": np.cos(angles),
        "sin": np.sin(angles),
    }
    _same_as_onnxruntime("RotaryEmbedding", list(feeds), feeds, 1, {"interleaved": interleaved})


def test_dynamic_quantisation_is_onnxruntimes() -> None:
    feeds = {
        "x": floats(1, 6, 700),
        # Unsigned: of int8 onnxruntime's sums saturate on processors without VNNI.
        "w": RNG.integers(0, 256, (700, 20)).astype(np.uint8),
        "scale": np.abs(floats(20)) / 100,
        "zero": np.full(20, 128, np.uint8),
    }
    _same_as_onnxruntime("DynamicQuantizeMatMul", list(feeds), feeds, 1, {})


def test_sums_of_8_bit_products_have_no_error() -> None:
    left, right = RNG.integers(-255, 256, (3, 5000)), RNG.integers(-128, 128, (5000, 4))
    left[0], right[:, 0] = 255, -128
    mine = exact_product(left.astype(np.float32), right.astype(np.float32))
    assert np.array_equal(mine, left @ right)


def test_unknown_operators_are_all_named() -> None:
    model = _model("MoE", ["x"], {"x": floats(2, 2)}, 1, {})
    with pytest.raises(QuantmakeError) as caught:
        Evaluator(ir.from_proto(model))
    assert "com.microsoft.MoE" in str(caught.value)
    assert "take another method" in str(caught.value)


def _model(
    kind: str, names: list[str], feeds: dict[str, np.ndarray], outputs: int, attributes: Any
) -> Any:
    made = [f"y{at}" for at in range(outputs)]
    node = helper.make_node(kind, names, made, domain="com.microsoft", **attributes)
    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
        )
        for name, value in feeds.items()
    ]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in made]
    graph = helper.make_graph([node], "g", inputs, results)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def _same_as_onnxruntime(
    kind: str, names: list[str], feeds: dict[str, np.ndarray], outputs: int, attributes: Any
) -> None:
    """The evaluator's kernel gives what onnxruntime gives, but for its last bits."""
    from scripts.backends.onnx.contrib import KERNELS

    model = _model(kind, names, feeds, outputs, attributes)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    mine = KERNELS[kind]([feeds[name] if name else None for name in names], attributes)
    theirs = session.run(None, feeds)
    for one, other in zip(mine, theirs, strict=False):
        if one is not None:
            np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)
