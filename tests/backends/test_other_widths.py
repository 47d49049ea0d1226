"""What calibration gains on a second model, whose widths divide by 256: k-quants apply to it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from scripts.backends.format import Format, all_formats
from scripts.backends.gguf.f16 import F16Gguf
from scripts.backends.model import load_model
from scripts.backends.onnx.export import OnnxGraph
from scripts.calibration.capture import Capture
from scripts.calibration.gradients import Gradients
from scripts.evaluation.metrics import Comparison
from scripts.exec import run_stage
from scripts.token_windows import read_windows, write_windows
from tests.tiny import make_tiny_base, tiny_lines

WINDOW, CALIBRATION, EVALUATION = 128, 16, 12


@pytest.fixture(scope="module")
def inputs(toolchain: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A trained model 256 wide, and all that artefacts of it are made from.

    Its MLP is not as wide as its vocabulary: onnxruntime-genai's builder takes a linear with as
    many outputs as there are tokens for the head.
    """
    folder = tmp_path_factory.mktemp("wide")
    base = make_tiny_base(folder / "base", hidden=256, mlp=768, layers=3, steps=200)
    found = {"base": base, "f16": folder / "f16.gguf", "toolchain": toolchain}
    ids = AutoTokenizer.from_pretrained(base)("\n".join(tiny_lines(400, seed=5)))["input_ids"]
    tokens = np.array(ids[: (CALIBRATION + EVALUATION) * WINDOW], np.int32).reshape(-1, WINDOW)
    for name, part in (("calibration", tokens[:CALIBRATION]), ("text", tokens[CALIBRATION:])):
        found[name] = folder / name
        found[name].mkdir()
        write_windows(found[name], part)
    run_stage(F16Gguf(tokenizer_pre="smollm"), found, found["f16"])
    for name, stage in (("graph", OnnxGraph()), ("capture", Capture()), ("gradients", Gradients())):
        found[name] = folder / name
        run_stage(stage, found, found[name])
    return found


def divergence(inputs: dict[str, Path], out: Path, **options: object) -> tuple[float, int]:
    """KLD from the base in nats over the text that no calibration saw, and the file's bytes."""
    stage = next(
        one.model_validate(options)
        for one in all_formats()
        if all(options.get(key) in values for key, values in one.selector().items())
    )
    assert isinstance(stage, Format)
    out.mkdir()
    target = out / f"artefact{stage.suffix}"
    run_stage(stage, inputs, target)
    base = load_model("pytorch", inputs["base"], threads=2, context=WINDOW)
    model = load_model(stage.backend, target, threads=2, context=WINDOW)
    comparison = Comparison()
    for window in read_windows(inputs["text"]):
        expected = torch.log_softmax(torch.from_numpy(base.scores(window, 0)[:-1]), -1)
        got = torch.from_numpy(model.scores(window, 0)[:-1])
        comparison.add(expected, got, torch.from_numpy(window[1:]))
    files = [target] if target.is_file() else [*target.iterdir()]
    return comparison.quality().kld_mean.value, sum(file.stat().st_size for file in files)


GAINS: dict[str, tuple[dict[str, object], dict[str, object], float]] = {
    "GGUF, Q4_0's size": (
        {"format": "gguf", "type": "iq4_nl", "imatrix": True},
        {"format": "gguf", "type": "auto", "like": "iq4_nl", "method": "gptq"},
        0.7,
    ),
    "GGUF, Q4_K_M's size": (
        {"format": "gguf", "type": "q4_k_m", "imatrix": True},
        {"format": "gguf", "type": "auto", "like": "q4_k_m", "method": "gptq"},
        0.7,
    ),
    "NF4": (
        {"format": "bitsandbytes"},
        {"format": "bitsandbytes", "method": "gptq"},
        0.6,
    ),
    "W4A16": (
        {"format": "compressed-tensors", "scheme": "W4A16"},
        {"format": "compressed-tensors", "scheme": "W4A16", "method": "gptq"},
        0.5,
    ),
    "ONNX INT4": (
        {"format": "onnx", "bits": 4, "method": "rtn"},
        {"format": "onnx", "bits": 4, "method": "gptq"},
        0.5,
    ),
}


@pytest.mark.parametrize("name", GAINS)
def test_calibrated_loses_less_at_no_more_bytes(
    name: str, inputs: dict[str, Path], tmp_path: Path
) -> None:
    stock, ours, share = GAINS[name]
    before, bytes_before = divergence(inputs, tmp_path / "stock", **stock)
    after, bytes_after = divergence(inputs, tmp_path / "ours", **ours)
    print(f"{name}: KLD {before:.5f} in {bytes_before:,} bytes, {after:.5f} in {bytes_after:,}")
    assert after < share * before
    assert bytes_after <= bytes_before * 1.001
