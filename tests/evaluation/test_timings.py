"""Timings: rows in processes of their own, in turn; what fails does not stop the others."""

import json
from pathlib import Path

import pytest

from scripts.backends.model import load_model
from scripts.evaluation.reference import Reference
from scripts.evaluation.result import Timings
from scripts.evaluation.speed import Arm
from scripts.evaluation.timings import TimeAll, batches, in_turn
from scripts.exec import run_stage
from scripts.token_windows import read_windows


@pytest.fixture(scope="module")
def reference(tiny_base: Path, tiny_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The yardstick on two windows of 128 tokens."""
    folder = tmp_path_factory.mktemp("reference")
    stage = Reference(lines=(0, 100), windows=2, context=128)
    run_stage(stage, {"base": tiny_base, "text": tiny_text}, folder)
    return folder


def test_rows_are_timed_and_the_broken_one_says_why(
    tiny_base: Path, tiny_graph: Path, tiny_f16: Path, reference: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    stage = TimeAll(
        rows={
            "base": "pytorch",
            "graph": "onnx",
            "f16.gguf": "gguf",
            "broken.gguf": "gguf",
        }
    )
    inputs = {
        "artifact/base": tiny_base,
        "artifact/graph": tiny_graph,
        "artifact/f16.gguf": tiny_f16,
        "artifact/broken.gguf": broken,
        "reference": reference,
    }
    out = tmp_path / "timings.json"
    run_stage(stage, inputs, out)
    found = Timings.model_validate_json(out.read_bytes())
    assert set(found.speeds) == {"base", "graph", "f16.gguf"}
    assert "broken.gguf does not load (gguf)" in found.failures["broken.gguf"]
    for speed in found.speeds.values():
        assert speed.prefill_tokens == 256
        assert 8 <= speed.decode_tokens <= 128
        assert speed.prefill_tokens_per_s.repeats == speed.decode_tokens_per_s.repeats == 5
        assert 0 < speed.decode_tokens_per_s.min <= speed.decode_tokens_per_s.median
        assert speed.load_s > 0
        assert speed.peak_rss_bytes > 10_000_000
    assert not stage.is_settled(out)
    del found.failures["broken.gguf"]
    out.write_text(found.model_dump_json())
    assert stage.is_settled(out)
    assert not stage.is_settled(tmp_path / "nothing.json")


def test_timings_are_in_no_store_and_nothing_runs_beside_them() -> None:
    assert not TimeAll.reproducible


def test_rounds_begin_with_another_row_each() -> None:
    names = ["a", "b", "c"]
    assert [list(in_turn(names, number)) for number in range(4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]
    assert list(in_turn([], 1)) == []


def test_rows_that_do_not_fit_together_are_timed_in_groups(tmp_path: Path) -> None:
    inputs = {"reference": tmp_path}
    for name in ("a", "b", "c"):
        inputs[f"artifact/{name}"] = tmp_path / f"{name}.gguf"
        with inputs[f"artifact/{name}"].open("wb") as file:
            file.truncate(1_000_000_000)
    assert batches(inputs, 50e9) == [["a", "b", "c"]]
    assert batches(inputs, 10e9) == [["a", "b"], ["c"]]
    assert batches(inputs, 1e9) == [["a"], ["b"], ["c"]]


def test_base_that_memory_does_not_hold_is_left_out_for_good(
    tiny_base: Path,
    tiny_graph: Path,
    reference: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scripts.evaluation.timings.available_memory", lambda: 1e8)
    stage, out = TimeAll(rows={"base": "pytorch", "graph": "onnx"}), tmp_path / "timings.json"
    inputs = {"artifact/base": tiny_base, "artifact/graph": tiny_graph, "reference": reference}
    run_stage(stage, inputs, out)
    found = Timings.model_validate_json(out.read_bytes())
    assert [*found.speeds] == ["graph"]
    text = "its speed was not measured: it takes about 1 GB of memory, and 0 GB are available"
    assert found.left_out == {"base": text}
    assert stage.is_settled(out)


def test_slow_row_decodes_fewer_tokens(
    tiny_f16: Path, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model("gguf", tiny_f16, threads=1, context=512)
    arm = Arm(model, read_windows(reference).reshape(-1))
    monkeypatch.setattr(arm, "_decode", lambda count: (20.0, 1.0))
    arm.warm_up()
    assert arm.decode_tokens == 16


def test_record_is_json_with_units_in_its_names() -> None:
    fields = json.loads(json.dumps(Timings.model_json_schema()))["$defs"]["Speed"]["properties"]
    assert {"prefill_tokens_per_s", "load_s", "peak_rss_bytes", "first_token_ms"} <= set(fields)
