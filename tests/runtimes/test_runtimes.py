"""Every runtime gives the float model's logits, and its KV cache gives what prefill gives."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from scripts.errors import MachineError, QuantmakeError
from scripts.runtimes.model import LOADERS, Model, Runtime, load_model
from tests.onnx_models import torch_logits

TOKENS = np.arange(3, 75, dtype=np.int64)
# Float kernels of three libraries; llama.cpp keeps its cache and its inputs in FP16.
TOLERANCE: dict[Runtime, float] = {"torch": 1e-5, "onnxruntime": 1e-3, "llama.cpp": 0.05}


@pytest.fixture(scope="module")
def artefacts(tiny_base: Path, tiny_graph: Path, tiny_f16: Path) -> dict[Runtime, Path]:
    """The float model of each runtime."""
    return {"torch": tiny_base, "onnxruntime": tiny_graph, "llama.cpp": tiny_f16}


@pytest.fixture(scope="module", params=list(LOADERS))
def loaded(request: pytest.FixtureRequest, artefacts: dict[Runtime, Path]) -> tuple[Runtime, Model]:
    """The name of a runtime and the float model in it."""
    return request.param, load_model(
        request.param, artefacts[request.param], threads=2, context=128
    )


def test_scores_are_the_logits_of_the_base(loaded: tuple[Runtime, Model], tiny_base: Path) -> None:
    runtime, model = loaded
    wanted = torch_logits(tiny_base, TOKENS)
    found = model.scores(TOKENS, 10)
    assert found.dtype == np.float32
    assert found.shape == wanted[10:].shape
    np.testing.assert_allclose(found, wanted[10:], atol=TOLERANCE[runtime])


def test_decoding_step_by_step_gives_what_scoring_gives(loaded: tuple[Runtime, Model]) -> None:
    runtime, model = loaded
    wanted = model.scores(TOKENS, 0)
    steps = [model.prefill(TOKENS[:40])]
    steps += [model.decode(int(token)) for token in TOKENS[40:]]
    np.testing.assert_allclose(np.stack(steps), wanted[39:], atol=TOLERANCE[runtime])


def test_prefill_forgets_what_came_before(loaded: tuple[Runtime, Model]) -> None:
    runtime, model = loaded
    first = model.prefill(TOKENS[:20])
    model.decode(7)
    np.testing.assert_allclose(model.prefill(TOKENS[:20]), first, atol=TOLERANCE[runtime])
    np.testing.assert_allclose(model.scores(TOKENS[:20], 19)[0], first, atol=TOLERANCE[runtime])


@pytest.mark.parametrize("runtime", LOADERS)
def test_what_does_not_load_is_named(runtime: Runtime, tmp_path: Path) -> None:
    path = tmp_path / "broken"
    path.mkdir()
    (path / "config.json").write_text("{}")
    with pytest.raises(QuantmakeError, match=rf"{path} does not load in {runtime}: "):
        load_model(runtime, path, threads=1, context=64)


def test_runtime_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "scripts.runtimes.llama_model", raising=False)
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    with pytest.raises(MachineError, match=r"needs the runtime llama.cpp, which can't be imported"):
        load_model("llama.cpp", tmp_path / "x.gguf", threads=1, context=64)


def test_logits_that_are_not_finite(tiny_base: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny_base, broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"] = torch.full_like(weights["model.norm.weight"], torch.nan)
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    model = load_model("torch", broken, threads=2, context=64)
    with pytest.raises(QuantmakeError, match=rf"{broken} gives logits that are NaN or infinite"):
        model.prefill(TOKENS[:8])
