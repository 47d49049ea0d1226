"""The benchmark takes turns, feeds both the same tokens and prints medians with a ratio."""

import shutil
import time
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from scripts.backends.onnx.formats.rtn import OnnxRtn
from scripts.benchmarks import decode_speed
from scripts.benchmarks.measure import in_turn
from scripts.evaluation.result import Spread
from scripts.exec import run_stage

pytestmark = pytest.mark.slow  # optimum exports in a process


@pytest.fixture(scope="module")
def export(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """optimum's export of the tiny base."""
    return decode_speed.export_with_optimum(tiny_base, tmp_path_factory.mktemp("o") / "optimum")


def test_arms_take_turns_after_a_warm_up() -> None:
    log: list[str] = []

    def measure(name: str) -> float:
        log.append(name)
        return float(len(log))

    speeds = in_turn({name: partial(measure, name) for name in ("float", "int8")}, repeats=5)
    assert log == ["float", "int8"] * 6
    assert speeds["float"] == Spread(median=7, min=3, max=11, repeats=5)
    assert speeds["int8"] == Spread(median=8, min=4, max=12, repeats=5)


def test_models_decode_the_same_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[list[int]] = []

    def decode(prompt: np.ndarray, following: Sequence[int]) -> float:
        given.append([*prompt.tolist(), *following])
        return 1.0

    monkeypatch.setattr(decode_speed, "optimum_decoder", lambda *_: decode)
    monkeypatch.setattr(decode_speed, "bare_decoder", lambda *_: decode)
    sizes = Namespace(int8=tmp_path, prompt=3, tokens=4, threads=1, repeats=5)
    decode_speed.run(sizes, tmp_path)
    assert len(given) == 3 * 6
    assert len(given[0]) == 7
    assert all(tokens == given[0] for tokens in given)


def test_table_has_all_and_the_ratio(
    export: Path, tiny_graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = OnnxRtn(format="onnx", bits=8, method="rtn")
    run_stage(stage, {"graph": tiny_graph}, tmp_path / "int8")
    given = ["--optimum", str(export), "--int8", str(tmp_path / "int8")]
    assert decode_speed.main([*given, "--prompt", "4", "--tokens", "4", "--repeats", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if "optimum's FP32 export" in line)
    assert any("in the bare loop" in line for line in lines)
    size = sum(path.stat().st_size for path in export.glob("*.onnx*"))
    assert f"{size / 1e6:.1f}" in row
    assert "1.00" in row
    assert any("4 tokens after 4, 5 repeats after a warm-up" in line for line in lines)


def test_clock_leaves_prompt_and_prefill_out(export: Path) -> None:
    decode = decode_speed.optimum_decoder(export, threads=2)
    started = time.perf_counter()
    speed = decode(np.arange(3, 100), [1, 2, 3, 4])
    assert speed > 4 / (time.perf_counter() - started)


def test_base_that_optimum_cannot_export_is_named(tiny_base: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_base, tmp_path / "base")
    (tmp_path / "base/config.json").write_text('{"model_type": "nothing"}')
    with pytest.raises(decode_speed.QuantmakeError, match=r"could not export .*base; it said: "):
        decode_speed.export_with_optimum(tmp_path / "base", tmp_path / "optimum")


def test_missing_artefact_ends_with_1(
    export: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--optimum", str(export), "--int8", str(tmp_path / "nothing")]
    assert decode_speed.main(given) == 1
    assert "nothing does not load (onnx)" in capsys.readouterr().err
