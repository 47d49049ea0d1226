"""Decoders of many families, taken apart layer by layer, are what they are as a whole."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from scripts.calibration.capture import Capture
from scripts.calibration.decoder import Decoder
from scripts.calibration.stand_ins import stack_of
from scripts.calibration.stored import Captured
from scripts.evaluation.sensitivity import EMBEDDING
from scripts.exec import run_stage
from scripts.token_windows import read_windows, write_windows
from tests.calibration.test_capture import assert_same, observed
from tests.evaluation.test_sensitivity import measure, rounded
from tests.families import FAMILIES, WINDOW, make_family


@pytest.fixture(scope="module", params=FAMILIES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_family(request.param, tmp_path_factory.mktemp(request.param) / "base")


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Windows [3, 64], longer than the sliding windows."""
    folder = tmp_path_factory.mktemp("calibration")
    ids = np.random.default_rng(0).integers(3, 410, (3, 64)).astype(np.int32)
    assert ids.shape[1] > 2 * WINDOW
    write_windows(folder, ids)
    return folder


def test_capture(base: Path, calibration: Path, tmp_path: Path) -> None:
    run_stage(Capture(), {"base": base, "calibration": calibration}, tmp_path / "capture")
    # DeepSeek's own code can't compute in float64.
    wanted = observed(base, calibration, torch.float32)
    assert_same(Captured(tmp_path / "capture"), wanted)


def test_logits(base: Path, calibration: Path) -> None:
    tokens = torch.from_numpy(read_windows(calibration)[:1])
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    with torch.inference_mode():
        wanted = model(tokens).logits[0, [0, 30, 63]]
        torch.testing.assert_close(Decoder(base).logits(tokens, [0, 30, 63]), wanted)


def test_sensitivity(base: Path, calibration: Path, tmp_path: Path) -> None:
    measured = measure(base, calibration, tmp_path / "s.json")
    assert measured.reason == ""
    tokens = torch.from_numpy(read_windows(calibration)[:2])
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()

    def logprobs() -> torch.Tensor:
        with torch.inference_mode():
            return torch.log_softmax(model(tokens).logits[:, 32:].double(), -1)

    before = logprobs()
    _, layers = stack_of(model)
    names = [one.name for one in measured.layers[:-1]]
    assert names == [f"layer {at}" for at in range(len(layers))]
    assert measured.layers[-1].name == EMBEDDING
    for layer, entry in zip(layers, measured.layers[:-1], strict=True):
        with rounded(layer, 4, 32):
            other = logprobs()
        kld = float((before.exp() * (before - other)).sum(-1).mean())
        assert entry.kld.value == pytest.approx(kld, rel=1e-3, abs=1e-7)
