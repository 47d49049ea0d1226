"""An evaluation end to end on the tiny base, and what it catches."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file

from scripts.backends.model import load_model
from scripts.evaluation.evaluate import Evaluate
from scripts.evaluation.reference import Reference
from scripts.evaluation.result import MEASUREMENT, Failed, Measured
from scripts.evaluation.score import count_parameters, generate, measure_size
from scripts.evaluation.timings import describe
from scripts.evaluation.windowed import append_window, read_window
from scripts.exec import run_stage
from tests.onnx_models import write_other_base

pytestmark = pytest.mark.slow  # artefacts are measured in processes


@pytest.fixture(scope="module")
def reference(tiny_base: Path, tiny_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The yardstick on four windows of 128 tokens."""
    folder = tmp_path_factory.mktemp("reference")
    stage = Reference(lines=(0, 100), windows=4, context=128, prompts=("the cat", "a heron"))
    run_stage(stage, {"base": tiny_base, "text": tiny_text}, folder)
    return folder


def outcome(
    backend: str, artifact: Path, base: Path, reference: Path, out: Path
) -> Measured | Failed:
    stage = Evaluate(artifact="model-x", backend=backend)
    run_stage(stage, {"artifact": artifact, "base": base, "reference": reference}, out)
    found = MEASUREMENT.validate_json(out.read_bytes())
    assert stage.is_settled(out) == isinstance(found, Measured)
    return found


def evaluate(backend: str, artifact: Path, base: Path, reference: Path, out: Path) -> Measured:
    found = outcome(backend, artifact, base, reference, out)
    assert isinstance(found, Measured), found
    return found


def reason(backend: str, artifact: Path, base: Path, reference: Path, out: Path) -> str:
    found = outcome(backend, artifact, base, reference, out)
    assert isinstance(found, Failed), found
    return found.reason


def broken_layer(base: Path, folder: Path) -> Path:
    """A copy of the base with one linear of one layer set to zero."""
    shutil.copytree(base, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"].zero_()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize("backend", ["pytorch", "onnx", "gguf"])
def test_float_model_in_every_runtime(
    backend: str,
    tiny_base: Path,
    tiny_graph: Path,
    tiny_f16: Path,
    reference: Path,
    tmp_path: Path,
) -> None:
    artifact = {"pytorch": tiny_base, "onnx": tiny_graph, "gguf": tiny_f16}[backend]
    found = evaluate(backend, artifact, tiny_base, reference, tmp_path / "x.json")
    assert found.quality.tokens_scored == 4 * 63
    assert found.quality.kld_mean.value < 2e-5
    assert found.quality.top1_agreement.value > 0.98
    assert found.quality.perplexity_ratio.value == pytest.approx(1, abs=1e-3)
    assert [sample.prompt for sample in found.samples] == ["the cat", "a heron"]


def test_layer_set_to_zero_is_caught(tiny_base: Path, reference: Path, tmp_path: Path) -> None:
    broken = broken_layer(tiny_base, tmp_path / "broken")
    found = evaluate("pytorch", broken, tiny_base, reference, tmp_path / "x.json")
    assert found.quality.kld_mean.value > 0.05
    assert found.quality.perplexity_ratio.value > 1.02
    klds = [flip.kld for flip in found.flips]
    assert klds == sorted(klds, reverse=True)
    assert len(klds) == 10
    worst = found.flips[0]
    assert worst.expected != worst.got
    assert worst.context
    assert 0 < worst.expected_p <= 1


def test_artefact_with_another_vocabulary(tiny_base: Path, reference: Path, tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    other = write_other_base("untied", tmp_path / "other", tiny_base)
    config = LlamaConfig.from_pretrained(other)
    config.vocab_size = 600
    LlamaForCausalLM(config).half().save_pretrained(other)
    said = reason("pytorch", other, tiny_base, reference, tmp_path / "x.json")
    assert "model-x has a vocabulary of 600, the base 512" in said


def test_artefact_that_does_not_load(tiny_base: Path, reference: Path, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    said = reason("gguf", tmp_path / "model.gguf", tiny_base, reference, tmp_path / "x.json")
    assert "model.gguf does not load (gguf)" in said


def test_logits_that_are_not_finite(tiny_base: Path, reference: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(tiny_base, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    said = reason("pytorch", broken, tiny_base, reference, tmp_path / "x.json")
    assert "gives logits that are NaN or infinite" in said


def test_missing_runtime_is_named(
    tiny_base: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden/onnxruntime.py").write_text("raise ImportError('not installed')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hidden"), prepend=":")
    said = reason("onnx", tiny_base, tiny_base, reference, tmp_path / "x.json")
    assert "needs the runtime of onnx, which can't be imported (not installed)" in said


@pytest.mark.parametrize(
    ("crash", "said"),
    [("os.abort()", "was ended by SIGABRT"), ("os.kill(os.getpid(), 9)", "memory ran out")],
)
def test_artefact_that_ends_its_process(
    crash: str,
    said: str,
    tiny_base: Path,
    reference: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden/onnxruntime.py").write_text(f"import os\n{crash}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hidden"), prepend=":")
    assert said in reason("onnx", tiny_base, tiny_base, reference, tmp_path / "x.json")


def test_scoring_reads_one_window_at_a_time(tmp_path: Path) -> None:
    windows = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    for number, window in enumerate(windows):
        append_window(tmp_path / "a.npy", window, number=number, count=4)
    assert np.array_equal(np.load(tmp_path / "a.npy"), windows)
    assert np.array_equal(read_window(tmp_path / "a.npy", 2), windows[2])


def test_inventory_of_the_float_models(tiny_base: Path, tiny_graph: Path, tiny_f16: Path) -> None:
    weights = load_file(tiny_base / "model.safetensors")
    parameters = sum(tensor.numel() for tensor in weights.values())
    assert count_parameters(tiny_base) == parameters
    size, notes = measure_size("pytorch", tiny_base, tiny_base)
    assert size.tensor_types == {"F16": len(weights)}
    assert size.bits_per_weight == pytest.approx(16, abs=0.2)
    assert size.bytes == sum(path.stat().st_size for path in tiny_base.iterdir())
    assert notes == ()
    size, _ = measure_size("onnx", tiny_graph, tiny_base)
    graph = onnx.load(tiny_graph / "model.onnx", load_external_data=False).graph
    assert size.tensor_types["FP32"] == sum(node.op_type == "MatMul" for node in graph.node)
    size, _ = measure_size("gguf", tiny_f16, tiny_base)
    assert size.tensor_types == {"F16": 7 * 3 + 1}
    assert size.bytes == tiny_f16.stat().st_size


def test_greedy_text_ends_at_a_stop_token(tiny_base: Path) -> None:
    model = load_model("pytorch", tiny_base, threads=2, context=64)
    ids = generate(model, [10, 11, 12], [], 8)
    assert len(ids) == 8
    assert generate(model, [10, 11, 12], [ids[3]], 8) == ids[: ids.index(ids[3])]
    logits = model.prefill(np.array([10, 11, 12, *ids[:5]]))
    assert int(logits.argmax()) == ids[5]


def test_machine_says_what_the_timings_ran_on() -> None:
    machine = describe(2, ["torch"])
    assert machine.cpu
    assert machine.cores == 2
    assert torch.__version__.startswith(machine.packages["torch"].partition("+")[0])
    assert json.loads(machine.model_dump_json())["features"] == machine.features


def test_the_worst_kind_of_text_is_the_headline(
    tiny_base: Path, tiny_text: Path, tmp_path: Path
) -> None:
    broken = broken_layer(tiny_base, tmp_path / "broken")
    stage = Reference(
        lines=(0, 50), kind="news", others={"code": (100, 150)}, windows=2, context=128
    )
    inputs = {"base": tiny_base, "text": tiny_text, "text/code": tiny_text}
    run_stage(stage, inputs, tmp_path / "reference")
    found = evaluate("pytorch", broken, tiny_base, tmp_path / "reference", tmp_path / "x.json")
    news, code = found.texts
    assert (news.kind, code.kind) == ("news", "code")
    assert found.first == news.quality
    divergences = [one.quality.kld_mean.value for one in found.texts]
    assert divergences[0] != divergences[1]
    assert found.quality.kld_mean.value == max(divergences)
    assert found.tokens_scored == 2 * news.quality.tokens_scored == 4 * 63
