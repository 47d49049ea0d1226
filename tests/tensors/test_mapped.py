"""Mapped tensors against safetensors' own reader."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from scripts.tensors.dtypes import TORCH_TYPES
from scripts.tensors.header import tensors_in
from scripts.tensors.mapped import mapped


def test_same_values_as_load_file(tmp_path: Path) -> None:
    tensors = {
        name: torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).to(kind)
        for name, kind in TORCH_TYPES.items()
    }
    save_file(tensors, tmp_path / "x.safetensors", metadata={"format": "pt"})
    save_file({"other": torch.ones(7)}, tmp_path / "y.safetensors")
    views = mapped(tensors_in(tmp_path))
    expected = load_file(tmp_path / "x.safetensors") | load_file(tmp_path / "y.safetensors")
    assert views.keys() == expected.keys()
    assert all(torch.equal(views[name], expected[name]) for name in expected)
    assert all(views[name].dtype == expected[name].dtype for name in expected)


def test_writing_to_a_view_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    save_file({"a": torch.ones(7)}, tmp_path / "x.safetensors")
    mapped(tensors_in(tmp_path))["a"].zero_()
    assert load_file(tmp_path / "x.safetensors")["a"].sum() == 7


def test_type_that_torch_does_not_map_is_named(tmp_path: Path) -> None:
    save_file({"a": torch.ones(3).to(torch.float8_e5m2)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=r"types that can't be mapped: a is F8_E5M2"):
        mapped(tensors_in(tmp_path))
