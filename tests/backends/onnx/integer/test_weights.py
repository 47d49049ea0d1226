"""Integer weights: within half a step by rounding to nearest, and a smaller loss by GPTQ."""

from pathlib import Path

import numpy as np
import pytest

from scripts.backends.captured import hessian_of
from scripts.backends.onnx.graph import Linear, head, linears, open_graph
from scripts.backends.onnx.integer.compensated import Compensated
from scripts.backends.onnx.integer.smooth import smooth
from scripts.backends.onnx.integer.weights import ZERO_POINTS, WeightType, nearest, nearest_of
from scripts.calibration.stored import Captured


@pytest.fixture
def weight() -> np.ndarray:
    weight = np.random.default_rng(0).normal(size=(64, 24)) * np.geomspace(0.1, 10, 24)
    weight[:, 5] = 0
    return weight.astype(np.float32)


@pytest.mark.parametrize("kind", ZERO_POINTS)
@pytest.mark.parametrize("per_channel", [True, False])
def test_weights_are_within_half_a_step(
    per_channel: bool, kind: WeightType, weight: np.ndarray
) -> None:
    codes, scale = nearest(weight, per_channel=per_channel, kind=kind)
    assert codes.dtype == kind
    whole = codes.astype(np.int64) - ZERO_POINTS[kind]
    assert scale.shape == ((24,) if per_channel else ())
    assert np.abs(whole).max() == 127
    error = np.abs(whole * scale.astype(np.float64) - weight)
    assert (error <= 0.5001 * scale).all()


@pytest.fixture
def model(tiny_graph: Path):
    return open_graph(tiny_graph)


def values(made) -> np.ndarray:
    """What codes and scales stand for."""
    codes, scale = made
    return (codes.astype(np.float64) - ZERO_POINTS[str(codes.dtype)]) * scale


def layers(model) -> list[Linear]:
    """All but the head."""
    return [one for one in linears(model) if one.node is not head(model).node]


def loss(linear: Linear, made, hessian: np.ndarray) -> float:
    """dWᵀ H dW, summed over the outputs."""
    error = values(made) - linear.weight()
    return float((error * (hessian @ error)).sum())


@pytest.mark.parametrize("kind", ZERO_POINTS)
@pytest.mark.parametrize("per_channel", [True, False])
def test_gptq_loses_less_on_the_same_scales(
    model, tiny_capture: Path, kind: WeightType, per_channel: bool
) -> None:
    captured, options = Captured(tiny_capture), {"per_channel": per_channel, "kind": kind}
    compensated = Compensated(captured, layers(model), {}, **options)
    for linear in layers(model):
        near, made = nearest_of(linear, **options), compensated(linear)
        np.testing.assert_array_equal(near[1], made[1])
        assert near[0].dtype == made[0].dtype == kind
        assert near[0].shape == made[0].shape
        if "qkv" not in linear.name:  # whose values have a Hessian of their own
            hessian = hessian_of(linear, captured).double().numpy()
            assert loss(linear, made, hessian) < 0.8 * loss(linear, near, hessian), linear.name


def test_hessian_is_that_of_what_smoothing_left(model, tiny_capture: Path) -> None:
    captured = Captured(tiny_capture)
    hessians = {one.name: hessian_of(one, captured).double().numpy() for one in layers(model)}
    factors = smooth(model, captured, layers(model))
    smoothed = [one for one in layers(model) if one.node.inputs[0].name in factors]
    told, silent = (
        Compensated(captured, layers(model), by, per_channel=True, kind="uint8")
        for by in (factors, {})
    )
    assert smoothed
    sums = [0.0, 0.0]
    for linear in smoothed:
        by = factors[linear.node.inputs[0].name].astype(np.float64)
        hessian = hessians[linear.name] / by[:, None] / by
        for place, one in enumerate((told, silent)):
            sums[place] += loss(linear, one(linear), hessian)
    assert sums[0] < 0.99 * sums[1]


def test_weight_is_rounded_once(model, tiny_capture: Path) -> None:
    compensated = Compensated(
        Captured(tiny_capture), layers(model), {}, per_channel=True, kind="uint8"
    )
    one = layers(model)[0]
    assert compensated(one) is compensated(one)


def test_unknown_inputs_are_rounded_to_nearest(model, tiny_capture: Path) -> None:
    compensated = Compensated(Captured(tiny_capture), [], {}, per_channel=True, kind="uint8")
    one = layers(model)[0]
    np.testing.assert_array_equal(compensated(one)[0], nearest(one.weight(), per_channel=True)[0])
