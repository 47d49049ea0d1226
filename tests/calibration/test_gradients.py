"""The squared gradients, with the capture's Hessians as a prediction of the KLD."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from scripts.calibration.capture import Capture
from scripts.calibration.gradients import Gradients
from scripts.calibration.stored import GRADIENTS, Captured, gradient_squares
from scripts.errors import QuantmakeError
from scripts.exec import run_stage
from scripts.token_windows import read_windows
from tests.onnx_models import write_other_base
from tests.tiny import make_tiny_base

DOWN = "model.layers.1.mlp.down_proj"


def scored(base: Path, calibration: Path) -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    """The model, the calibration's windows, and its log-probabilities of them, in float64: those
    of a small change differ by little more than float32 can tell."""
    tokens = torch.from_numpy(read_windows(calibration))
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64).eval()
    with torch.no_grad():
        return model, tokens, model(tokens).logits.log_softmax(-1)


def test_of_every_linear_and_the_embedding(tiny_gradients: Path, tiny_capture: Path) -> None:
    squares = gradient_squares(tiny_gradients)
    assert squares.keys() == {*Captured(tiny_capture).names, "model.embed_tokens"}
    assert squares["lm_head"].shape == (512,)
    assert squares["model.embed_tokens"].shape == squares[DOWN].shape == (128,)


def test_conv1d_of_gpt2(tiny_base: Path, tiny_calibration: Path, tmp_path: Path) -> None:
    inputs = {"base": write_other_base("gpt2", tmp_path / "base", tiny_base)}
    inputs["calibration"] = tiny_calibration
    run_stage(Gradients(), inputs, tmp_path / "out")
    run_stage(Capture(), inputs, tmp_path / "capture")
    squares = gradient_squares(tmp_path / "out")
    assert squares.keys() == {*Captured(tmp_path / "capture").names, "transformer.wte"}


@pytest.mark.parametrize("name", [DOWN, "model.layers.2.mlp.gate_proj"])
def test_predicts_the_kld_of_a_small_change(
    name: str,
    tiny_gradients: Path,
    tiny_capture: Path,
    tiny_base: Path,
    tiny_calibration: Path,
) -> None:
    model, tokens, before = scored(tiny_base, tiny_calibration)
    weight = model.get_submodule(name).weight
    change = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)) * 0.003
    with torch.no_grad():
        weight += change
        after = model(tokens).logits.log_softmax(-1)
    kld = (before.exp() * (before - after)).sum(-1).mean()
    hessian = torch.from_numpy(Captured(tiny_capture).hessian(name))
    rows = ((change @ hessian) * change).sum(1)
    predicted = (rows * torch.from_numpy(gradient_squares(tiny_gradients)[name])).sum() / 2
    # The gradients are of tokens drawn once: this few leave an estimate of that width.
    assert 0.5 < predicted / kld < 2


def test_no_values_that_are_not_finite(tmp_path: Path, tiny_calibration: Path) -> None:
    base = make_tiny_base(tmp_path / "base", hidden=64, layers=1, steps=0)
    model = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = torch.inf
    model.save_pretrained(base)
    (tmp_path / "out").mkdir()
    text = r"not finite: it has NaN or infinity in model\.layers\.0\.mlp\.up_proj\.weight\. Mend"
    with pytest.raises(QuantmakeError, match=text):
        Gradients().run({"base": base, "calibration": tiny_calibration}, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_linear_that_nothing_reaches(tmp_path: Path, tiny_calibration: Path) -> None:
    base = make_tiny_base(tmp_path / "base", hidden=64, layers=1, steps=0)
    model = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight.zero_()
    model.save_pretrained(base)
    with pytest.raises(QuantmakeError, match=r"at model\.layers\.0\.mlp\.gate_proj are all zero"):
        Gradients().run({"base": base, "calibration": tiny_calibration}, tmp_path)


def test_same_bytes_again(
    tiny_gradients: Path, tiny_base: Path, tiny_calibration: Path, tmp_path: Path
) -> None:
    Gradients().run({"base": tiny_base, "calibration": tiny_calibration}, tmp_path)
    assert (tmp_path / GRADIENTS).read_bytes() == (tiny_gradients / GRADIENTS).read_bytes()
