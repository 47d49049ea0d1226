"""Integer weights and activation scales against float64, and the nodes that compute with them."""

import numpy as np
import pytest

from scripts.backends.onnx.graph import linears
from scripts.backends.onnx.integer.nodes import activation_scale, dynamic, integer_weight, static
from tests.onnx_models import compute, one_matmul


@pytest.fixture
def weight() -> np.ndarray:
    weight = np.random.default_rng(0).normal(size=(64, 24)) * np.geomspace(0.1, 10, 24)
    weight[:, 5] = 0
    return weight.astype(np.float32)


@pytest.mark.parametrize("reduce_range", [True, False])
@pytest.mark.parametrize("per_channel", [True, False])
def test_weights_are_within_half_a_step(
    per_channel: bool, reduce_range: bool, weight: np.ndarray
) -> None:
    whole, scale = integer_weight(weight, per_channel=per_channel, reduce_range=reduce_range)
    assert scale.shape == ((24,) if per_channel else ())
    assert np.abs(whole).max() == (63 if reduce_range else 127)
    error = np.abs(whole * scale.astype(np.float64) - weight)
    assert (error <= 0.5001 * scale).all()


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
    options = {"per_channel": per_channel, "reduce_range": False}
    if kind == "dynamic":
        dynamic(model, linears(model), **options)
    else:
        static(model, linears(model), {"x": (float(x.min()), float(x.max()))}, **options)
    got, wanted = compute(model, {"x": x}), x @ weight
    error = np.sqrt(((got - wanted) ** 2).mean(0) / np.maximum((wanted**2).mean(0), 1e-12))
    assert (got != wanted).any()
    assert error[-1] < 0.02
    assert (error[0] < 0.02) == per_channel
