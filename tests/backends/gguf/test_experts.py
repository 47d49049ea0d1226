"""Mixtures of experts: each expert is rounded by what it saw, and one that saw nothing is named."""

from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader

from scripts.backends.gguf.f16 import F16Gguf
from scripts.backends.gguf.format import GgufFile
from scripts.backends.gguf.imatrix import mean_squares
from scripts.backends.gguf.importance import importances
from scripts.backends.gguf.names import Matrix
from scripts.calibration.capture import Capture
from scripts.calibration.gradients import Gradients
from scripts.calibration.stored import Captured
from scripts.exec import run_stage
from scripts.token_windows import write_windows
from tests.families import make_family

EXPERTS = 4


def make_inputs(folder: Path, toolchain: Path, family: str, *, silence: bool) -> dict[str, Path]:
    """Of a family with experts; with `silence` all tokens are one, which two experts share."""
    base = make_family(family, folder / "base")
    ids = np.random.default_rng(0).integers(3, 410, (4, 96)).astype(np.int32)
    if silence:
        ids[:] = 7
    (folder / "calibration").mkdir()
    write_windows(folder / "calibration", ids)
    inputs = {"base": base, "calibration": folder / "calibration", "toolchain": toolchain}
    for name, stage in {"capture": Capture(), "gradients": Gradients()}.items():
        run_stage(stage, inputs, folder / name)
        inputs[name] = folder / name
    inputs["f16"] = folder / "f16.gguf"
    F16Gguf(tokenizer_pre="smollm").run(inputs, inputs["f16"])
    return inputs


@pytest.fixture(scope="module", params=["qwen3-moe", "mixtral", "gpt-oss", "granite-moe"])
def inputs(
    request: pytest.FixtureRequest, toolchain: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("moe")
    return make_inputs(folder, toolchain, request.param, silence=False)


def loss_of(out: Path, inputs: dict[str, Path]) -> float:
    """What the file's errors cost, as the gradients predict it."""
    from gguf import dequantize

    originals = {t.name: t.data.astype(np.float32) for t in GGUFReader(inputs["f16"]).tensors}
    written = {t.name: t for t in GGUFReader(out).tensors}
    total = 0.0
    for one in importances(inputs["f16"], inputs["capture"], inputs["gradients"]):
        for matrix, rows in one.rows.items():
            tensor = written[matrix.tensor]
            values = dequantize(tensor.data, tensor.tensor_type)
            error = torch.from_numpy(matrix.of(values) - matrix.of(originals[matrix.tensor]))
            total += float((((error @ one.hessian) * error).sum(1) * rows).sum() / 2)
    return total


def test_every_expert_has_its_own_hessian(inputs: dict[str, Path]) -> None:
    seen = [
        matrix
        for one in importances(inputs["f16"], inputs["capture"], inputs["gradients"])
        for matrix in one.rows
    ]
    assert len(seen) == len(set(seen))
    wanted = {
        Matrix(f"blk.{layer}.ffn_{kind}_exps.weight", expert)
        for layer in range(4)
        for kind in ("gate", "up", "down")
        for expert in range(EXPERTS)
    }
    assert wanted < set(seen)
    assert not [matrix for matrix in seen if "gate_inp" in matrix.tensor]


def test_gptq_rounds_all_experts_and_loses_less(
    inputs: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    losses = {}
    for method in ("rtn", "gptq"):
        out = tmp_path / f"{method}.gguf"
        run_stage(GgufFile(format="gguf", type="q4_0", method=method), inputs, out)
        losses[method] = loss_of(out, inputs)
    assert losses["gptq"] < 0.8 * losses["rtn"]
    assert f"GPTQ: {4 * (4 + 3 * EXPERTS) + 2} matrices, predicted KLD" in capfd.readouterr().out


def test_auto_fits_a_preset_and_loses_less(inputs: dict[str, Path], tmp_path: Path) -> None:
    run_stage(GgufFile(format="gguf", type="q4_0"), inputs, tmp_path / "q4_0.gguf")
    run_stage(GgufFile(format="gguf", type="auto", like="q4_0"), inputs, tmp_path / "auto.gguf")
    sizes = [(tmp_path / f"{name}.gguf").stat().st_size for name in ("auto", "q4_0")]
    assert 0.9 * sizes[1] < sizes[0] <= sizes[1]
    lost = [loss_of(tmp_path / f"{name}.gguf", inputs) for name in ("auto", "q4_0")]
    assert lost[0] < lost[1]


def test_imatrix_has_a_row_for_each_expert(inputs: dict[str, Path], tmp_path: Path) -> None:
    means = mean_squares(inputs["f16"], inputs["capture"])
    captured = Captured(inputs["capture"])
    (name,) = [
        n for n in captured.names if "layers.2." in n and n.endswith(("3.down_proj", "3.w2"))
    ]
    wide = means["blk.2.ffn_down_exps.weight"].reshape(EXPERTS, -1)
    assert np.array_equal(wide[3], captured.mean_square(name))
    run_stage(GgufFile(format="gguf", type="q4_0", imatrix=True), inputs, tmp_path / "x.gguf")


def test_expert_that_saw_no_token(
    toolchain: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    inputs = make_inputs(tmp_path, toolchain, "qwen3-moe", silence=True)
    seen = Captured(inputs["capture"]).names
    up = "model.layers.1.mlp.experts.{}.up_proj"
    silent = [expert for expert in range(EXPERTS) if up.format(expert) not in seen]
    assert len(silent) == 2
    said = capfd.readouterr().out
    assert "no token of the calibration reached model.layers.0.mlp.experts." in said
    assert all(up.format(expert) in said for expert in silent)
    run_stage(GgufFile(format="gguf", type="q4_0", method="gptq"), inputs, tmp_path / "gptq.gguf")
    said = capfd.readouterr().out
    assert "llama.cpp rounded these, whose inputs the calibration does not know: " in said
    assert all(f"blk.1.ffn_up_exps.weight (expert {expert})" in said for expert in silent)
    run_stage(GgufFile(format="gguf", type="q4_0", imatrix=True), inputs, tmp_path / "imatrix.gguf")
    assert mean_squares(inputs["f16"], inputs["capture"])["blk.1.ffn_up_exps.weight"].all()
