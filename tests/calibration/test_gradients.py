"""The curvature's two factors, against sums over tokens written out, and as a prediction."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from scripts.calibration.gradients import FILE, Curvature
from scripts.errors import QuantmakeError
from tests.tiny import make_tiny_base

DOWN = "model.layers.1.mlp.down_proj"


@pytest.fixture(scope="module")
def measured(tiny_curvature: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The file's tensors, and its metadata."""
    with safe_open(tiny_curvature / FILE, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return tensors, json.loads(file.metadata()["shared"])


def scored(base: Path, calibration: Path) -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    """The model in float32, the calibration's windows, and its log-probabilities of them."""
    tokens = torch.from_numpy(np.load(calibration / "tokens.npy").astype(np.int64))
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    with torch.no_grad():
        return model, tokens, model(tokens).logits.log_softmax(-1)


def test_hessian_is_the_mean_over_all_tokens(
    measured: tuple[dict[str, torch.Tensor], dict[str, str]],
    tiny_base: Path,
    tiny_calibration: Path,
) -> None:
    tensors, source = measured
    model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    seen = []
    model.get_submodule(DOWN).register_forward_pre_hook(lambda _, x: seen.append(x[0].detach()))
    model(torch.from_numpy(np.load(tiny_calibration / "tokens.npy").astype(np.int64)))
    x = seen[0].flatten(0, 1).double()
    torch.testing.assert_close(
        tensors[f"{DOWN}.hessian"].double(), x.T @ x / len(x), rtol=1e-3, atol=1e-5
    )
    assert source["model.layers.0.self_attn.v_proj"] == "model.layers.0.self_attn.q_proj"
    assert source["model.layers.0.mlp.up_proj"] == "model.layers.0.mlp.gate_proj"
    assert source[DOWN] == DOWN
    assert len(source) == 3 * 7 + 1
    assert tensors["head.gradient_square"].shape == (512,)
    assert tensors["embedding.gradient_square"].shape == (128,)


@pytest.mark.parametrize("name", [DOWN, "model.layers.2.mlp.gate_proj"])
def test_predicts_the_kld_of_a_small_change(
    name: str,
    measured: tuple[dict[str, torch.Tensor], dict[str, str]],
    tiny_base: Path,
    tiny_calibration: Path,
) -> None:
    tensors, source = measured
    model, tokens, before = scored(tiny_base, tiny_calibration)
    weight = model.get_submodule(name).weight
    change = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)) * 0.003
    with torch.no_grad():
        weight += change
        after = model(tokens).logits.log_softmax(-1)
    kld = (before.exp() * (before - after)).sum(-1).mean()
    rows = ((change @ tensors[f"{source[name]}.hessian"]) * change).sum(1)
    predicted = (rows * tensors[f"{name}.gradient_square"]).sum() / 2
    assert 0.6 < predicted / kld < 1.6


def test_no_values_that_are_not_finite(tmp_path: Path, tiny_calibration: Path) -> None:
    base = make_tiny_base(tmp_path / "base", hidden=64, layers=1, steps=0)
    model = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = torch.inf
    model.save_pretrained(base)
    (tmp_path / "out").mkdir()
    with pytest.raises(QuantmakeError, match=r"not finite for .*down_proj\.hessian.*infinite"):
        Curvature().run({"base": base, "calibration": tiny_calibration}, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_linear_that_nothing_reaches(tmp_path: Path, tiny_calibration: Path) -> None:
    base = make_tiny_base(tmp_path / "base", hidden=64, layers=1, steps=0)
    model = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight.zero_()
    model.save_pretrained(base)
    with pytest.raises(QuantmakeError, match=r"never reached model\.layers\.0\.mlp\.down_proj\."):
        Curvature().run({"base": base, "calibration": tiny_calibration}, tmp_path)


def test_same_bytes_again(
    tiny_curvature: Path, tiny_base: Path, tiny_calibration: Path, tmp_path: Path
) -> None:
    """safetensors writes the entries of the metadata in an order that differs from run to run."""
    Curvature().run({"base": tiny_base, "calibration": tiny_calibration}, tmp_path)
    assert (tmp_path / FILE).read_bytes() == (tiny_curvature / FILE).read_bytes()
