"""What the check of a base finds."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from scripts.base.make_base import Base
from scripts.errors import QuantmakeError


@pytest.fixture
def base(tiny_base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_base, tmp_path / "base"))


def refused(base: Path) -> str:
    with pytest.raises(QuantmakeError) as error:
        Base().check({}, base)
    return str(error.value)


def test_a_sound_base_passes(base: Path) -> None:
    Base().check({}, base)


def test_values_that_are_not_finite_and_other_types_are_named(base: Path) -> None:
    tensors = load_file(base / "model.safetensors")
    tensors["model.norm.weight"][3] = float("inf")
    name = "model.layers.0.mlp.up_proj.weight"
    tensors[name] = tensors[name].to(torch.bfloat16)
    save_file(tensors, base / "model.safetensors")
    said = refused(base)
    assert said.startswith("the base is broken: ")
    assert "model.norm.weight has values that are not finite" in said
    assert f"{name} is BF16, not F16" in said


def test_a_missing_tensor_is_named(base: Path) -> None:
    tensors = load_file(base / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, base / "model.safetensors")
    assert refused(base).startswith(
        "the tensors of the base are not those that config.json describes (1 differences): "
        "missing: model.norm.weight."
    )


def test_a_damaged_file_is_named(base: Path) -> None:
    path = base / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    assert refused(base).startswith("model.safetensors is damaged or cut short (1,000 bytes: ")
