"""The capture against plain forward hooks on the whole model."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from scripts.base.published import Converted, published_modules
from scripts.calibration.capture import Capture
from scripts.calibration.fused_experts import is_linear, open_experts
from scripts.calibration.layers import capture
from scripts.calibration.stored import HESSIAN, STATISTICS, Captured
from scripts.checkpoint import Checkpoints
from scripts.errors import QuantmakeError
from scripts.exec import run_stage
from scripts.tensors.header import tensors_in
from scripts.tensors.mapped import mapped
from scripts.token_windows import read_windows
from tests.onnx_models import digests, write_other_base


def observed(
    base: Path, calibration: Path, dtype: torch.dtype = torch.float64
) -> dict[str, list[torch.Tensor]]:
    """Every linear's inputs [n, columns] for each window, by hooks on the model as a whole."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype).eval()
    open_experts(model)
    files = published_modules(Converted(model, mapped(tensors_in(base))))
    seen: dict[str, list[torch.Tensor]] = {}
    for own, module in model.named_modules():
        name = files.get(own, own)
        if is_linear(module):
            module.register_forward_pre_hook(
                lambda _, args, name=name: seen.setdefault(name, []).append(
                    args[0].detach().reshape(-1, args[0].shape[-1])
                )
            )
    with torch.inference_mode():
        for window in read_windows(calibration):
            model(torch.from_numpy(window)[None])
    return seen


def half_of_equal_lengths(x: torch.Tensor) -> torch.Tensor:
    """The mean of XᵀX and of the same where every row that is not zero has the same length."""
    lengths = x.square().sum(1)
    even = x[lengths > 0] / lengths[lengths > 0, None].sqrt() * lengths.mean().sqrt()
    return (x.T @ x + even.T @ even) / 2


def assert_same(stored: Captured, wanted: dict[str, list[torch.Tensor]]) -> None:
    assert set(stored.names) == wanted.keys()
    for name, windows in wanted.items():
        x = torch.cat(windows)
        product = (sum(map(half_of_equal_lengths, windows)) / len(x)).numpy()
        scale = product.diagonal().max()
        assert np.abs(stored.hessian(stored.input_of(name)) - product).max() < 1e-4 * scale, name
        np.testing.assert_allclose(stored.mean_square(name), x.square().mean(0), rtol=1e-3)
        minimum, maximum = stored.range(name)
        np.testing.assert_allclose(minimum, x.amin(0), atol=1e-3)
        np.testing.assert_allclose(maximum, x.amax(0), atol=1e-3)


def test_equals_hooks_on_the_whole_model(
    tiny_capture: Path, tiny_base: Path, tiny_calibration: Path
) -> None:
    assert_same(Captured(tiny_capture), observed(tiny_base, tiny_calibration))


class Dying(Checkpoints):
    """Keeps every layer, and ends the run once a number of files were saved."""

    def __init__(self, folder: Path, files: int) -> None:
        super().__init__(folder, seconds_between=0)
        self.left = files

    def save(self, name: str, tensors: Mapping[str, torch.Tensor]) -> None:
        super().save(name, tensors)
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


@pytest.mark.parametrize("files", [1, 2, 4, 5])  # a layer's and the states, in turn
def test_interrupted_capture_ends_with_the_same_bytes(
    tiny_capture: Path, tiny_base: Path, tiny_calibration: Path, tmp_path: Path, files: int
) -> None:
    for name in ("halted", "resumed", "kept"):
        (tmp_path / name).mkdir()
    halted = Dying(tmp_path / "kept", files)
    with pytest.raises(KeyboardInterrupt):
        capture(tiny_base, tiny_calibration, tmp_path / "halted", halted, threads=1)
    counted = Dying(tmp_path / "kept", 100)
    capture(tiny_base, tiny_calibration, tmp_path / "resumed", counted, threads=1)
    assert digests(tmp_path / "resumed") == digests(tiny_capture)
    assert 100 - counted.left == 2 * (3 - files // 2)  # finished layers are not done again


def test_linears_with_the_same_input_share_a_hessian(tiny_capture: Path) -> None:
    stored = Captured(tiny_capture)
    layer = "model.layers.1."
    assert stored.input_of(f"{layer}self_attn.v_proj") == f"{layer}self_attn.q_proj"
    assert stored.input_of(f"{layer}mlp.up_proj") == f"{layer}mlp.gate_proj"
    assert stored.input_of(f"{layer}mlp.down_proj") == f"{layer}mlp.down_proj"
    hessians = load_file(tiny_capture / HESSIAN)
    assert len(hessians) == 4 * 3 + 1 + 3  # of the layers, the head, the value projections
    assert stored.source_of(f"{layer}self_attn.v_proj") not in stored.names
    assert stored.source_of(f"{layer}self_attn.k_proj") == f"{layer}self_attn.q_proj"
    assert hessians["lm_head"].shape == (128, 128)
    assert len(load_file(tiny_capture / STATISTICS)) == 3 * (7 * 3 + 1)


def test_conv1d_of_gpt2(tiny_base: Path, tiny_calibration: Path, tmp_path: Path) -> None:
    base = write_other_base("gpt2", tmp_path / "base", tiny_base)
    out = tmp_path / "out"
    run_stage(Capture(), {"base": base, "calibration": tiny_calibration}, out)
    assert_same(Captured(out), observed(base, tiny_calibration))


def test_same_bytes_with_one_thread(
    tiny_capture: Path,
    tiny_base: Path,
    tiny_calibration: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scripts.workers.available_cores", lambda: 1)
    run_stage(Capture(), {"base": tiny_base, "calibration": tiny_calibration}, tmp_path / "out")
    assert digests(tmp_path / "out") == digests(tiny_capture)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "model.layers.1.mlp.up_proj.weight",
            float("nan"),
            "the base has NaN or infinity in model.layers.1.mlp.up_proj.weight; ",
        ),
        (
            "model.layers.2.post_attention_layernorm.weight",
            0.0,
            "the inputs of model.layers.2.mlp.gate_proj, model.layers.2.mlp.up_proj, "
            "model.layers.2.mlp.down_proj are all zero or not finite",
        ),
    ],
    ids=["nan-weight", "zero-activations"],
)
def test_broken_base_is_named_and_writes_nothing(
    name: str, value: float, message: str, tiny_base: Path, tiny_calibration: Path, tmp_path: Path
) -> None:
    base = shutil.copytree(tiny_base, tmp_path / "base")
    weights = load_file(base / "model.safetensors")
    weights[name] = torch.full_like(weights[name], value)
    save_file(weights, base / "model.safetensors")
    with pytest.raises(QuantmakeError) as caught:
        run_stage(Capture(), {"base": base, "calibration": tiny_calibration}, tmp_path / "out")
    assert str(caught.value).startswith(message)
    assert list((tmp_path / "out").iterdir()) == []


def test_unknown_linear(tiny_capture: Path) -> None:
    with pytest.raises(QuantmakeError, match=r"the capture has seen no linear nowhere; "):
        Captured(tiny_capture).hessian("nowhere")
