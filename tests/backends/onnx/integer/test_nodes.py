"""Activation scales against float64, and the nodes that compute with integers."""

from functools import partial

import numpy as np
import onnx_ir as ir
import pytest

from scripts.backends.onnx.graph import linears
from scripts.backends.onnx.integer.nodes import activation_scale, dynamic, static
from scripts.backends.onnx.integer.weights import ZERO_POINTS, WeightType, nearest_of
from tests.onnx_models import compute, one_matmul


@pytest.fixture
def weight() -> np.ndarray:
    weight = np.random.default_rng(0).normal(size=(64, 24)) * np.geomspace(0.1, 10, 24)
    weight[:, 5] = 0
    return weight.astype(np.float32)


@pytest.mark.parametrize(
    ("least", "greatest", "zero"), [(-1.0, 3.0, 64), (0.5, 2.0, 0), (-2.0, -1.0, 255)]
)
def test_activation_scale_holds_zero_exactly(least: float, greatest: float, zero: int) -> None:
    scale, point = activation_scale(least, greatest)
    assert point == zero
    assert float(scale) == pytest.approx((max(greatest, 0) - min(least, 0)) / 255)


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_node_multiplies_as_the_float_one(kind: str, per_channel: bool, weight: np.ndarray) -> None:
    model = one_matmul(weight)
    x = np.random.default_rng(1).normal(size=(9, 64)).astype(np.float32)
    _quantise(model, kind, x, per_channel=per_channel)
    got, wanted = compute(model, {"x": x}), x @ weight
    error = np.sqrt(((got - wanted) ** 2).mean(0) / np.maximum((wanted**2).mean(0), 1e-12))
    assert (got != wanted).any()
    assert error[-1] < 0.02
    assert (error[0] < 0.02) == per_channel


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_weights_of_either_type_compute_the_same_where_no_sum_saturates(
    kind: str, weight: np.ndarray
) -> None:
    x = np.random.default_rng(1).uniform(-1, 1, (9, 64)).astype(np.float32)
    x[:, ::2], weight[1::2] = 0, weight[1::2] / 127  # of each pair of products one is small
    got = {}
    for weights in ZERO_POINTS:
        model = one_matmul(weight)
        _quantise(model, kind, x, per_channel=True, weights=weights)
        assert any(name.endswith(f"_{weights}") for name in model.graph.initializers)
        got[weights] = compute(model, {"x": x})
    np.testing.assert_array_equal(got["int8"], got["uint8"])


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_products_do_not_saturate_on_any_processor(kind: str) -> None:
    weight = np.random.default_rng(0).choice([-1, 1], (512, 24)).astype(np.float32)
    x = np.random.default_rng(1).uniform(-1, 1, (9, 512)).astype(np.float32)
    x[:, :64], weight[:64] = 1, 1  # pairs of 255 · 127, which don't fit into 16 bits
    model = one_matmul(weight)
    _quantise(model, kind, x, per_channel=True)
    step = activation_scale(float(x.min()), float(x.max()))[0]
    exact = np.rint(x / step).astype(np.float64) * step @ weight
    assert np.abs(compute(model, {"x": x}) - exact).max() < 1e-3 * np.abs(exact).max()


def _quantise(
    model: ir.Model, kind: str, x: np.ndarray, *, per_channel: bool, weights: WeightType = "uint8"
) -> None:
    weight_of = partial(nearest_of, per_channel=per_channel, kind=weights)
    if kind == "dynamic":
        dynamic(model, linears(model), weight_of)
    else:
        edges = {"x": (float(x.min()), float(x.max()))}
        static(model, linears(model), edges, weight_of)
