"""The default recipe, end to end, on the real model: the promises of the README in figures."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts.evaluation.result import Measured
from tests.checkout import ROOT

RECIPE = "smollm2-135m"
WINDOWS = 4
# All but timings and the report, which the tiny model has too.
TASKS = ("checksums", "evaluate")


def doit(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `doit` in a checkout."""
    return subprocess.run(
        [sys.executable, "-m", "doit", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=3000,
    )


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which one `doit` has built the default recipe.

    Without its artefacts by calibration, and NF4 and Q4_0 rounded to nearest: the tiny model
    tests these methods, in seconds.
    """
    folder = tmp_path_factory.mktemp("real")
    for name in ("scripts", "recipes"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("dodo.py", "pyproject.toml", "pylock.exporters.toml"):
        shutil.copy(ROOT / name, folder / name)
    recipe = folder / "recipes" / f"{RECIPE}.yaml"
    lines = recipe.read_text().splitlines(keepends=True)
    calibrated = ("method: dynamic", "method: static", "model-int4-onnx:")
    kept = "".join(line for line in lines if not any(c in line for c in calibrated))
    # The bounds below are those of one text.
    before, _, others = kept.partition("  others: # the worst")
    _, _, after = others.partition("  windows: 8 # of each\n")
    kept = f"{before}  windows: {WINDOWS}\n{after}"
    kept = kept.partition("budgets:")[0]  # digests would wait for the report, it for the timings
    kept = kept.replace("type: auto, like: q4_0, method: gptq", "type: q4_0")
    recipe.write_text(kept.replace(", method: gptq", ""))
    done = doit(folder, *TASKS)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def evaluation(checkout: Path, name: str) -> Measured:
    """The stored evaluation of one row."""
    path = checkout / "cache" / RECIPE / "evaluation" / f"{name}.json"
    return Measured.model_validate(json.loads(path.read_text()))


def test_artefacts_and_their_digests(checkout: Path) -> None:
    for name in ("model-int8", "model-int4", "model.gguf", "SHA256SUMS"):
        assert (checkout / "quantized" / name).exists()
    checked = subprocess.run(
        ["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=checkout / "quantized", check=False
    )
    assert checked.returncode == 0


def test_weight_only_int8_is_small_and_close(checkout: Path) -> None:
    found = evaluation(checkout, "model-int8")
    assert found.size.bytes <= 160_000_000
    assert found.quality.kld_mean.value <= 0.006
    assert [one.kind for one in found.texts] == ["news"]
    assert found.tokens_scored == WINDOWS * 255


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("graph", 1e-4),
        ("f16.gguf", 1e-3),
        ("model-q8_0.gguf", 0.006),
        ("model-q4_k_m.gguf", 0.1),
        ("model-int4", 0.35),
        ("model.gguf", 0.4),
    ],
)
def test_quality_of_the_others(checkout: Path, name: str, most: float) -> None:
    assert evaluation(checkout, name).quality.kld_mean.value <= most


def test_second_doit_runs_nothing_and_imports_nothing_heavy(checkout: Path) -> None:
    started = time.monotonic()
    done = doit(checkout, *TASKS)
    took = time.monotonic() - started
    assert done.returncode == 0
    assert done.stdout.startswith("Nothing to do")
    print(f"no-op doit: {took:.2f} s")


def test_nf4_tensors_are_what_bitsandbytes_gives(checkout: Path) -> None:
    import torch
    from bitsandbytes.functional import quantize_4bit
    from safetensors import safe_open

    base = checkout / "cache" / RECIPE / "base/model.safetensors"
    with (
        safe_open(base, "pt") as weights,
        safe_open(checkout / "quantized/model-int4/model.safetensors", "pt") as quantised,
    ):
        names = [n for n in quantised.keys() if n.endswith(".absmax") and "nested" not in n]  # noqa: SIM118
        assert len(names) == 210
        for absmax in names[::21]:
            name = absmax.removesuffix(".absmax")
            packed, state = quantize_4bit(
                weights.get_tensor(name), blocksize=64, quant_type="nf4", compress_statistics=True
            )
            assert torch.equal(quantised.get_tensor(name), packed)
            assert torch.equal(quantised.get_tensor(absmax), state.absmax)
            nested = quantised.get_tensor(f"{name}.nested_absmax")
            assert torch.equal(nested, state.state2.absmax)
