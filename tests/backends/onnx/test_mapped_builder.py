"""The builder with mapped weights against the builder as it is."""

import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import torch

from scripts.backends.onnx import mapped_builder
from scripts.backends.onnx.mapped_builder import BUILDER, Lazily, load_mapped

DATA = "model.onnx.data"


def arguments(base: Path, out: Path, cache: Path) -> list[str]:
    return [*("-i", str(base), "-o", str(out), "-p", "fp32", "-e", "cpu", "-c", str(cache))]


def test_same_bytes_as_the_builder_alone(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, mapped = tmp_path / "plain", tmp_path / "mapped"
    subprocess.run(
        [sys.executable, "-m", BUILDER, *arguments(tiny_base, plain, tmp_path / "cache")],
        check=True,
        capture_output=True,
    )
    loaded = []
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.setattr(
        mapped_builder, "load_mapped", lambda folder: loaded.append(folder) or load_mapped(folder)
    )
    mapped_builder.main(arguments(tiny_base, mapped, tmp_path / "other"))
    assert loaded == [str(tiny_base)]
    assert (mapped / DATA).read_bytes() == (plain / DATA).read_bytes()
    made, own = (onnx.load(one / "model.onnx", load_external_data=False) for one in (mapped, plain))
    # What differs are the builder's version and the shapes of caches, which are mended.
    assert list(made.graph.node) == list(own.graph.node)
    assert list(made.graph.initializer) == list(own.graph.initializer)


def test_matrices_stay_in_their_file_and_norms_are_float32(tiny_base: Path) -> None:
    model = load_mapped(str(tiny_base))
    layer = model.model.layers[0]
    assert layer.mlp.up_proj.weight.dtype == torch.float16
    assert layer.input_layernorm.weight.dtype == torch.float32
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_what_the_builder_merges_goes_into_a_file_too(tiny_base: Path, tmp_path: Path) -> None:
    lazily = Lazily(str(tmp_path))
    weight = lazily.load(str(tiny_base)).model.layers[0].mlp.up_proj.weight
    assert lazily._mapped(weight.T) is not None
    assert lazily._mapped(weight.T).data_ptr() == weight.data_ptr()
    merged = torch.cat([weight, weight])
    kept = lazily._mapped(merged.T)
    assert torch.equal(kept, merged.T)
    assert kept.data_ptr() != merged.data_ptr()
    assert not list(tmp_path.iterdir())


def test_base_without_a_tensor_is_told(tiny_base: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for path in tiny_base.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(tiny_base / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"no tensors model\.layers\.1\.mlp\.up_proj\.weight"):
        load_mapped(str(tmp_path))
