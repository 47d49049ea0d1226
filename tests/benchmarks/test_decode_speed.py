"""The benchmark takes turns, feeds both the same tokens and prints medians with a ratio."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from scripts.benchmarks import decode_speed
from scripts.exec import run_stage
from scripts.formats.onnx_int8_weight_only import OnnxInt8WeightOnly


class Recorder:
    """A model that writes down what it is given."""

    def __init__(self, name: str, log: list[tuple[str, list[int]]]) -> None:
        self.name, self.log = name, log

    def prefill(self, tokens: np.ndarray) -> None:
        self.log.append((self.name, tokens.tolist()))

    def decode(self, token: int) -> None:
        self.log[-1][1].append(token)


def test_models_take_turns_on_the_same_tokens_after_a_warm_up() -> None:
    log: list[tuple[str, list[int]]] = []
    models = {name: Recorder(name, log) for name in ("float", "int8")}
    found = decode_speed.interleave(models, prompt=3, tokens=4, repeats=5)
    assert [name for name, _ in log] == ["float", "int8"] * 6
    assert len(log[0][1]) == 7
    assert all(tokens == log[0][1] for _, tokens in log)
    for speed in found.values():
        assert speed.repeats == 5
        assert 0 < speed.least <= speed.median <= speed.greatest


def test_table_has_both_and_the_ratio(
    tiny_graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = OnnxInt8WeightOnly(format="onnx", bits=8, method="weight-only")
    run_stage(stage, {"graph": tiny_graph}, tmp_path / "int8")
    given = ["--optimum", str(tiny_graph), "--int8", str(tmp_path / "int8")]
    assert decode_speed.main([*given, "--prompt", "4", "--tokens", "4", "--repeats", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if "optimum, FP32" in line)
    size = (tiny_graph / "model.onnx").stat().st_size
    size += (tiny_graph / "model.onnx.data").stat().st_size
    assert f"{size / 1e6:.1f}" in row
    assert "1.00" in row
    assert any("4 tokens after 4, 5 repeats after a warm-up" in line for line in lines)


def test_optimum_exports_the_base(tiny_base: Path, tmp_path: Path) -> None:
    out = decode_speed.export_with_optimum(tiny_base, tmp_path / "optimum")
    assert (out / "model.onnx").is_file()


def test_base_that_optimum_cannot_export_is_named(tiny_base: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_base, tmp_path / "base")
    (tmp_path / "base/config.json").write_text('{"model_type": "nothing"}')
    with pytest.raises(decode_speed.QuantmakeError, match=r"could not export .*base; it said: "):
        decode_speed.export_with_optimum(tmp_path / "base", tmp_path / "optimum")


def test_missing_artefact_ends_with_1(
    tiny_graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--optimum", str(tiny_graph), "--int8", str(tmp_path / "nothing")]
    assert decode_speed.main(given) == 1
    assert "nothing does not load in onnxruntime" in capsys.readouterr().err
