"""The Hessians of value projections, of inputs as attention mixes them, against eager attention."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from scripts.calibration.attention import EVERY, mixed, watched
from scripts.calibration.capture import Capture
from scripts.calibration.stored import Captured
from scripts.exec import run_stage
from scripts.token_windows import read_windows, write_windows
from tests.calibration.test_capture import observed
from tests.families import WINDOW, make_family

# With what is special: grouped queries, windows, norms of queries and keys, factors, a soft cap.
MIXING = ("llama3", "qwen3", "gemma2", "gemma3", "granite", "olmo2", "qwen3-moe")


def wanted(base: Path, calibration: Path) -> dict[str, torch.Tensor]:
    """Mean of MᵀM over heads and queries, with the trace of XᵀX / n, for each value projection."""
    inputs, heads = observed(base, calibration), dict[int, list[torch.Tensor]]()
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float64, attn_implementation="eager", experts_implementation="eager"
    ).eval()
    windows = [torch.from_numpy(window)[None] for window in read_windows(calibration)]
    with torch.inference_mode():
        for window in windows:
            for layer, weights in enumerate(model(window, output_attentions=True).attentions):
                heads.setdefault(layer, []).append(weights[0][:, EVERY - 1 :: EVERY])
    found = {}
    for layer, weights_of_windows in heads.items():
        name = f"model.layers.{layer}.self_attn.v_proj"
        pairs = zip(weights_of_windows, inputs[name], strict=True)
        mixtures = [(w @ x).flatten(0, 1) for w, x in pairs]
        hessian = sum(m.T @ m for m in mixtures)
        trace = torch.cat(inputs[name]).square().sum(1).mean()
        found[name] = hessian * trace / hessian.trace()
    return found


@pytest.mark.parametrize("family", MIXING)
def test_equals_eager_attention(family: str, tmp_path: Path) -> None:
    base = make_family(family, tmp_path / "base")
    ids = np.random.default_rng(0).integers(3, 410, (2, 64)).astype(np.int32)
    assert ids.shape[1] > 2 * WINDOW
    (tmp_path / "calibration").mkdir()
    write_windows(tmp_path / "calibration", ids)
    inputs = {"base": base, "calibration": tmp_path / "calibration"}
    run_stage(Capture(), inputs, tmp_path / "capture")
    captured = Captured(tmp_path / "capture")
    expected = wanted(base, tmp_path / "calibration")
    assert {name for name in captured.names if captured.mixed_rows(name)} == expected.keys()
    for name, hessian in expected.items():
        stored = captured.hessian(name)
        assert np.abs(stored - hessian.numpy()).max() < 1e-4 * stored.diagonal().max(), name
        plain = captured.hessian(captured.input_of(name))
        assert np.abs(stored - plain).max() > 0.01 * plain.diagonal().max()


def test_a_token_that_all_look_at_is_all_that_counts() -> None:
    inputs = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    weights = torch.zeros(5, 2, 5)
    weights[..., 0] = 1
    product = inputs.T @ mixed(inputs, weights)
    torch.testing.assert_close(product, 5 * inputs[0].outer(inputs[0]))


def test_attention_gives_what_it_gave(tiny_base: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32).eval()
    tokens = torch.arange(3, 40)[None]
    with torch.inference_mode():
        before = model(tokens).logits
        rows = list[torch.Tensor]()
        with watched(lambda _, weights: rows.append(weights())):
            assert torch.equal(model(tokens).logits, before)
        assert len(rows) == model.config.num_hidden_layers
        assert all(torch.allclose(weights.sum(-1), torch.ones(())) for weights in rows)
        assert torch.equal(model(tokens).logits, before)
