"""Tuning NF4 of the tiny model: absmax and norms change, and nothing else."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from scripts.backends.bitsandbytes.format import Bitsandbytes4bit
from scripts.backends.tune import Tune
from scripts.exec import run_stage

TUNE = Tune(tokens=4096, learning_rate=0.0002)


@pytest.fixture(scope="module")
def inputs(tiny_base: Path, tiny_calibration: Path) -> dict[str, Path]:
    return {"base": tiny_base, "calibration": tiny_calibration}


def made(out: Path, inputs: dict[str, Path], **options: object) -> dict[str, torch.Tensor]:
    """The tensors of an artefact."""
    run_stage(Bitsandbytes4bit(format="bitsandbytes", **options), inputs, out)
    return load_file(out / "model.safetensors")


@pytest.mark.parametrize("double_quant", [True, False])
def test_only_absmax_and_norms_change(
    inputs: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture, double_quant: bool
) -> None:
    plain = made(tmp_path / "plain", inputs, double_quant=double_quant)
    tuned = made(tmp_path / "tuned", inputs, double_quant=double_quant, tune=TUNE)
    assert plain.keys() == tuned.keys()
    changed = {name for name in plain if not torch.equal(plain[name], tuned[name])}
    absmax = {name for name in changed if name.endswith("weight.absmax")}
    assert len(absmax) == 3 * 7
    assert all(name.endswith("norm.weight") for name in changed - absmax)
    assert len(changed - absmax) == 3 * 2 + 1
    line = next(one for one in capfd.readouterr().out.splitlines() if "held-out" in one)
    before, after = (float(part.split()[0]) for part in line.split(": ")[1].split(", "))
    assert after < 0.85 * before


def test_tuning_that_does_not_help_changes_nothing(inputs: dict[str, Path], tmp_path: Path) -> None:
    plain = made(tmp_path / "plain", inputs)
    wild = made(tmp_path / "wild", inputs, tune=Tune(tokens=512, learning_rate=0.99))
    assert all(torch.equal(plain[name], wild[name]) for name in plain)


def test_label_and_inputs() -> None:
    stage = Bitsandbytes4bit(format="bitsandbytes", method="gptq", tune=TUNE)
    assert stage.label() == "INT4 NF4 GPTQ tuned (bitsandbytes)"
    assert stage.needed() == ("base", "capture", "calibration")
    assert stage.reaches()[-1] == "scripts.backends.bitsandbytes.tuning"
