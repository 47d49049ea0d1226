"""A float model that does not predict what the base does is refused, with where it begins."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from gguf import GGUFReader
from onnx import numpy_helper

from scripts.backends import float_gate, parity
from scripts.backends.float_gate import disagreement
from scripts.backends.gguf.f16 import F16Gguf
from scripts.backends.onnx import export
from scripts.backends.onnx.export import OnnxGraph
from scripts.backends.parity import Difference, Turns
from scripts.errors import MachineError, QuantmakeError
from scripts.exec import run_stage

pytestmark = pytest.mark.slow  # the comparison is a process of its own
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def with_config(base: Path, folder: Path, **entries: object) -> Path:
    """A copy of the base with other entries in its config.json."""
    shutil.copytree(base, folder)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))
    return folder


def break_rotary_table(graph: Path, folder: Path, first: int) -> Path:
    """A copy of the graph whose cosines from position `first` on are those of the next position."""
    shutil.copytree(graph, folder)
    model = onnx.load(folder / "model.onnx")
    (table,) = [one for one in model.graph.initializer if one.name == "cos_cache"]
    values = numpy_helper.to_array(table).copy()
    values[first:-1] = values[first + 1 :]
    table.CopyFrom(numpy_helper.from_array(values, "cos_cache"))
    onnx.save(model, folder / "model.onnx")
    return folder


def swap(f16: Path, copy: Path, one: str, other: str) -> Path:
    """A copy of the file in which two tensors of one shape have each other's values."""
    copy.write_bytes(f16.read_bytes())
    tensors = {tensor.name: tensor for tensor in GGUFReader(copy, "r+").tensors}
    kept = tensors[one].data.copy()
    tensors[one].data[:] = tensors[other].data
    tensors[other].data[:] = kept
    tensors[one].data.base.flush()
    return copy


def test_float_models_of_the_base_agree_with_it(
    tiny_base: Path, tiny_graph: Path, tiny_f16: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert disagreement("onnx", tiny_graph, tiny_base) == ""
    assert disagreement("gguf", tiny_f16, tiny_base) == ""
    said = capfd.readouterr().out
    assert "FP32 graph (ONNX) beside the base, 256 tokens: logits differ by " in said
    assert "\nGGUF F16 beside the base, 256 tokens: logits differ by " in said


@pytest.mark.parametrize("first", [1, 100])
def test_broken_rotary_table(first: int, tiny_base: Path, tiny_graph: Path, tmp_path: Path) -> None:
    broken = break_rotary_table(tiny_graph, tmp_path / "broken", first)
    reason = disagreement("onnx", broken, tiny_base)
    assert reason.startswith("FP32 graph (ONNX) does not predict what the base does: ")
    if first == 100:
        assert "The likely cause, since it begins at token 10" in reason
        assert "the rotary embedding, the attention's mask, or which layers have which" in reason
    assert reason.endswith(
        "so nothing is. Take the artefacts of this format out of the recipe; those of other "
        "formats are made from files of their own."
    )


def test_swapped_tensors(tiny_base: Path, tiny_f16: Path, toolchain: Path, tmp_path: Path) -> None:
    swapped = swap(tiny_f16, tmp_path / "x.gguf", "blk.1.ffn_up.weight", "blk.1.ffn_gate.weight")
    with pytest.raises(QuantmakeError) as caught:
        F16Gguf().check({"base": tiny_base, "toolchain": toolchain}, swapped)
    assert str(caught.value).startswith("GGUF F16 does not predict what the base does: ")
    assert "it begins at the first token: weights, norms, or logits" in str(caught.value)


def test_window_that_the_runtime_does_not_have(
    tiny_base: Path, toolchain: Path, tmp_path: Path
) -> None:
    base = with_config(
        *(tiny_base, tmp_path / "base"),
        architectures=["MistralForCausalLM"],
        model_type="mistral",
        sliding_window=100,
    )
    inputs = {"base": base, "toolchain": toolchain}
    text = "it begins at token 10., beyond the sliding window of 100: the window, or which layers"
    with pytest.raises(QuantmakeError, match=text):
        run_stage(F16Gguf(tokenizer_pre="smollm"), inputs, tmp_path / "x.gguf")


def test_rope_scaling_of_llama3(tiny_base: Path, tmp_path: Path) -> None:
    base = with_config(tiny_base, tmp_path / "base", rope_scaling=LLAMA3)
    run_stage(OnnxGraph(), {"base": base}, tmp_path / "graph")
    longer = {**LLAMA3, "original_max_position_embeddings": 128}
    other = with_config(tiny_base, tmp_path / "other", rope_scaling=longer)
    reason = disagreement("onnx", tmp_path / "graph", other)
    assert "rope scaling (`rope_scaling`, llama3), which the exporter computes otherwise" in reason


def test_another_exporter_is_tried(
    tiny_base: Path,
    tiny_graph: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def build(base: Path, made: Path) -> str:
        break_rotary_table(tiny_graph, made, 1)
        return ""

    monkeypatch.setitem(export._TOOLS, "onnxruntime-genai's builder", build)
    run_stage(OnnxGraph(), {"base": tiny_base}, tmp_path / "graph")
    said = capfd.readouterr().out
    assert "onnxruntime-genai's builder can't export this model: FP32 graph (ONNX) does" in said
    assert disagreement("onnx", tmp_path / "graph", tiny_base) == ""


def test_comparison_that_ends_without_an_answer(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\nkill -9 $$\n")
    dying.chmod(0o755)
    monkeypatch.setattr(float_gate.sys, "executable", str(dying))
    with pytest.raises(MachineError, match="ended with code -9 and no answer; where it was kill"):
        disagreement("onnx", tmp_path, tiny_base)


def wrong_from(first: int, last: int = 256) -> Difference:
    """Of 256 tokens, 16 of them decoded, those from `first` up to `last` are wrong."""
    at = np.arange(256)
    wrong = (at >= first) & (at < last)
    return Difference(at, np.where(wrong, 0.5, 1e-6), np.where(wrong, 0.1, 0.0), ~wrong)


@pytest.mark.parametrize(
    ("seen", "turns", "cause"),
    [
        (
            wrong_from(240),
            Turns(),
            "it begins with the first token after the prefill: the KV cache",
        ),
        (wrong_from(0), Turns(), "it begins at the first token: weights"),
        (wrong_from(130), Turns(window=128), "at token 130, beyond the sliding window of 128"),
        (
            wrong_from(70),
            Turns(original=64, rope="yarn"),
            "beyond the context of 64 that it was trained for: rope scaling (`rope_scaling`, yarn)",
        ),
        (wrong_from(30), Turns(rope="llama3"), "it grows with the positions, from token 30 on"),
        (wrong_from(30), Turns(), "the rotary embedding, the attention's mask"),
    ],
)
def test_cause(seen: Difference, turns: Turns, cause: str) -> None:
    text = parity.why(seen, turns, 1e-3, "FP32 graph (ONNX)", 256)
    assert cause in text
    assert f"of {len(seen.error)} tokens" in text


def test_how_far_the_text_goes(tiny_base: Path, tmp_path: Path) -> None:
    assert Turns.of(tiny_base).beyond() == 256
    scaled = with_config(tiny_base, tmp_path / "a", sliding_window=400, rope_scaling=LLAMA3)
    assert Turns.of(scaled) == Turns(400, 64, "llama3", 1024)
    assert Turns.of(scaled).beyond() == 464
    # What lies beyond the longest context can't be seen.
    assert Turns.of(with_config(tiny_base, tmp_path / "b", sliding_window=4096)).beyond() == 256


def test_model_too_large_for_all_of_it(
    tiny_base: Path,
    tiny_graph: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = with_config(tiny_base, tmp_path / "base", sliding_window=600)
    monkeypatch.setattr(parity, "_MOST_OPERATIONS", 1e6)
    parity.refuse_other_predictions("onnx", tiny_graph, base)
    assert capsys.readouterr().out.startswith(
        "compared with the base on 256 tokens: 664, beyond the sliding window and the original "
        "context, would take too long for a model of this size\n"
    )
