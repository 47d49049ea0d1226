"""Where stages compute: what a recipe and the machine say, and the same figures on a GPU."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from scripts import devices
from scripts.calibration import gradients as gradients_stage
from scripts.calibration.capture import Capture
from scripts.calibration.gradients import Gradients
from scripts.devices import VARIABLE, resolved, torch_device
from scripts.errors import MachineError, RecipeError
from scripts.evaluation.reference import Reference
from scripts.evaluation.sensitivity import MeasureSensitivity
from scripts.stage import Stage

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def test_auto_is_what_the_machine_has(tmp_path: Path) -> None:
    driver = tmp_path / "nvidiactl"
    assert resolved("auto", driver) == "cpu"
    driver.touch()
    assert resolved("auto", driver) == "cuda"
    assert resolved("cpu", driver) == "cpu"


def test_environment_goes_before_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "cuda")
    assert resolved("cpu") == "cuda"
    monkeypatch.setenv(VARIABLE, "gpu")
    with pytest.raises(RecipeError, match="QUANTMAKE_DEVICE is 'gpu'; it can be auto, cpu or cuda"):
        resolved("cpu")


def test_no_gpu_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.os, "environ", {})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MachineError, match=r"sees no CUDA GPU.*device: cpu in the recipe"):
        torch_device("cuda")
    assert torch_device("cpu") == torch.device("cpu")


def run(stage: Stage, out: Path, **inputs: Path) -> Path:
    if not stage.suffix:
        out.mkdir()
    stage.run(inputs, out)
    return out


def tensors(folder: Path) -> dict[str, np.ndarray]:
    return {k: v for file in folder.glob("*.safetensors") for k, v in load_file(file).items()}


def assert_close(ours: Path, theirs: Path, tolerance: float) -> None:
    """All tensors within a share of their largest value."""
    first, second = tensors(ours), tensors(theirs)
    assert first.keys() == second.keys()
    for name, one in first.items():
        assert np.abs(one - second[name]).max() <= tolerance * np.abs(one).max(), name


@NEEDS_GPU
@pytest.mark.slow
def test_capture_and_gradients_are_those_of_the_processor(
    tiny_base: Path, tiny_calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = {"base": tiny_base, "calibration": tiny_calibration}
    cpu, cuda = (run(Capture(device=one), tmp_path / f"c-{one}", **ends) for one in ("cpu", "cuda"))
    assert_close(cpu, cuda, 1e-4)
    made = [run(Gradients(device=one), tmp_path / f"g-{one}", **ends) for one in ("cpu", "cuda")]
    assert_close(*made, 0.02)  # a drawn token can be another one where two are nearly alike
    monkeypatch.setattr(gradients_stage, "MOST_VALUES_AT_ONCE", 0)
    assert_close(made[0], run(Gradients(device="cuda"), tmp_path / "by layer", **ends), 0.02)


@NEEDS_GPU
@pytest.mark.slow
def test_yardstick_and_sensitivity_are_those_of_the_processor(
    tiny_base: Path, tiny_calibration: Path, tiny_text: Path, tmp_path: Path
) -> None:
    made = [
        run(
            Reference(lines=(0, 100), windows=2, context=64, prompts=("the cat",), device=one),
            tmp_path / f"r-{one}",
            base=tiny_base,
            text=tiny_text,
        )
        for one in ("cpu", "cuda")
    ]
    first, second = (np.load(one / "logprobs.npy") for one in made)
    assert np.abs(first - second).max() < 1e-3
    errors = [
        json.loads(
            run(
                MeasureSensitivity(windows=2, tokens=64, device=one),
                tmp_path / f"s-{one}.json",
                base=tiny_base,
                calibration=tiny_calibration,
            ).read_text()
        )["layers"]
        for one in ("cpu", "cuda")
    ]
    for one, other in zip(*errors, strict=True):
        assert one["kld"]["value"] == pytest.approx(other["kld"]["value"], rel=0.02)
