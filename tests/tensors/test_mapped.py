"""Mapped tensors against safetensors' own reader."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from scripts.tensors.mapped import mapped_tensors


def test_same_values_as_load_file(tmp_path: Path) -> None:
    tensors = {
        str(kind): torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).to(kind)
        for kind in (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    }
    save_file(tensors, tmp_path / "x.safetensors", metadata={"format": "pt"})
    found = mapped_tensors(tmp_path / "x.safetensors")
    expected = load_file(tmp_path / "x.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_type_that_is_no_float_is_named(tmp_path: Path) -> None:
    save_file({"ids": torch.arange(3)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=r"x\.safetensors: ids is I64, which is no float"):
        mapped_tensors(tmp_path / "x.safetensors")
