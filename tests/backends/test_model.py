"""Every backend gives the float model's logits, and its KV cache gives what prefill gives."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from scripts.backends.model import Model, load_model
from scripts.backends.table import BACKENDS
from scripts.errors import MachineError, QuantmakeError
from tests.checkout import is_installed
from tests.onnx_models import torch_logits

TOKENS = np.arange(3, 75, dtype=np.int64)
# Float kernels of three libraries; llama.cpp keeps its cache and its inputs in FP16.
TOLERANCE: dict[str, float] = {
    **{"pytorch": 1e-5, "onnx": 1e-3, "gguf": 0.05, "openvino": 1e-3, "mlx": 1e-3},
}


def skip_without(backend: str) -> None:
    """Skip the test where the backend's packages are an extra that is not installed."""
    if not is_installed(backend):
        pytest.skip(f"the packages of {backend} are not installed")


@pytest.fixture(scope="module")
def artefacts(tiny_base: Path, tiny_graph: Path, tiny_f16: Path) -> dict[str, Path]:
    """The float model of each runtime."""
    return {
        "pytorch": tiny_base,
        "onnx": tiny_graph,
        "gguf": tiny_f16,
        "openvino": tiny_graph,
        "mlx": tiny_base,
    }


@pytest.fixture(scope="module", params=list(TOLERANCE))
def loaded(request: pytest.FixtureRequest, artefacts: dict[str, Path]) -> tuple[str, Model]:
    """The name of a runtime and the float model in it."""
    skip_without(request.param)
    return request.param, load_model(
        request.param, artefacts[request.param], threads=2, context=128
    )


def test_scores_are_the_logits_of_the_base(loaded: tuple[str, Model], tiny_base: Path) -> None:
    backend, model = loaded
    wanted = torch_logits(tiny_base, TOKENS)
    found = model.scores(TOKENS, 10)
    assert found.dtype == np.float32
    assert found.shape == wanted[10:].shape
    np.testing.assert_allclose(found, wanted[10:], atol=TOLERANCE[backend])


def test_decoding_step_by_step_gives_what_scoring_gives(loaded: tuple[str, Model]) -> None:
    backend, model = loaded
    wanted = model.scores(TOKENS, 0)
    steps = [model.prefill(TOKENS[:40])]
    steps += [model.decode(int(token)) for token in TOKENS[40:]]
    np.testing.assert_allclose(np.stack(steps), wanted[39:], atol=TOLERANCE[backend])


def test_prefill_forgets_what_came_before(loaded: tuple[str, Model]) -> None:
    backend, model = loaded
    first = model.prefill(TOKENS[:20])
    model.decode(7)
    np.testing.assert_allclose(model.prefill(TOKENS[:20]), first, atol=TOLERANCE[backend])
    np.testing.assert_allclose(model.scores(TOKENS[:20], 19)[0], first, atol=TOLERANCE[backend])


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_does_not_load_is_named(backend: str, tmp_path: Path) -> None:
    skip_without(backend)
    path = tmp_path / "broken"
    path.mkdir()
    (path / "config.json").write_text("{}")
    with pytest.raises(QuantmakeError, match=rf"{path} does not load \({backend}\): "):
        load_model(backend, path, threads=1, context=64)


def test_runtime_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "scripts.backends.gguf.loader", raising=False)
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    with pytest.raises(MachineError, match=r"needs the runtime of gguf, which can't be imported"):
        load_model("gguf", tmp_path / "x.gguf", threads=1, context=64)


def test_runtime_of_an_extra_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delitem(sys.modules, "scripts.backends.openvino.loader", raising=False)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MachineError) as caught:
        load_model("openvino", tmp_path, threads=1, context=64)
    assert str(caught.value).startswith(f"{tmp_path} needs the runtime of openvino, which can't be")
    assert str(caught.value).endswith(
        "install it with python3.11 -m scripts.setup --extra openvino"
    )


def test_logits_that_are_not_finite(tiny_base: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny_base, broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"] = torch.full_like(weights["model.norm.weight"], torch.nan)
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    model = load_model("pytorch", broken, threads=2, context=64)
    with pytest.raises(QuantmakeError, match=rf"{broken} gives logits that are NaN or infinite"):
        model.prefill(TOKENS[:8])
