"""SmoothQuant: the error that is expected, and what folding gains."""

from pathlib import Path

import numpy as np

from scripts.backends.onnx.fold import readers_weight, sites
from scripts.backends.onnx.graph import linears, open_graph, save_graph, split
from scripts.backends.onnx.integer.nodes import activation_scale
from scripts.backends.onnx.integer.smooth import activation_of, smooth
from scripts.backends.onnx.integer.weights import ZERO_POINTS, nearest
from scripts.calibration.stored import Captured
from scripts.methods.smoothquant import Activation, best_factors, expected_error
from tests.onnx_models import cached_logits


def test_expected_error_is_that_of_rounding() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 96))
    x[:, :3] *= 12
    weight = rng.normal(size=(96, 40)).astype(np.float32)
    step, zero = activation_scale(float(x.min()), float(x.max()))
    rounded = (np.clip(np.rint(x / step) + zero, 0, 255) - float(zero)) * step
    codes, scale = nearest(weight, per_channel=True)
    error = (
        rounded @ ((codes - float(ZERO_POINTS["uint8"])) * scale.astype(np.float64)) - x @ weight
    )
    wanted = np.square(error).sum(1).mean()
    activation = Activation(*(f.astype(np.float32) for f in (x.min(0), x.max(0), (x**2).mean(0))))
    np.testing.assert_allclose(expected_error(weight, activation), wanted, rtol=0.1)


def test_factors_take_the_outliers_out(tiny_graph: Path, tiny_capture: Path) -> None:
    captured, gains = Captured(tiny_capture), []
    for site in sites(open_graph(tiny_graph)):
        weight = readers_weight(site.readers)
        factors = best_factors(weight, activation_of(site, captured), site.shared)
        np.testing.assert_allclose(factors, site.shared(factors), rtol=1e-5)
        gains.append(factors.max() / factors.min())
    assert max(gains) > 2


def test_only_activations_of_integer_matmuls_are_scaled(
    tiny_graph: Path, tiny_capture: Path, tmp_path: Path
) -> None:
    model = open_graph(tiny_graph)
    integer, _ = split(linears(model), ["lm_head", "down_proj", "layers.1/mlp/up_proj"])
    found = smooth(model, Captured(tiny_capture), integer)
    assert len(found) == 3 * 3 - 1
    assert not [name for name in found if "layers.1/post_attention" in name]
    save_graph(model, tiny_graph, tmp_path)
    ids = np.arange(40, dtype=np.int64)
    wanted, got = (cached_logits(folder, ids, 30) for folder in (tiny_graph, tmp_path))
    np.testing.assert_allclose(got, wanted, atol=1e-3)
