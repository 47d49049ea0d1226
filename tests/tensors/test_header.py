"""Headers of safetensors files, against the library."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save, save_file

from scripts.errors import QuantmakeError
from scripts.tensors.header import Layout, header_bytes, read_header, tensors_in

TENSORS = {
    "b.weight": torch.ones(3, 5, dtype=torch.bfloat16),
    "ä": torch.arange(4),
    "scalar": torch.tensor(2.5),
    "none": torch.empty(0, 4),
}


def test_names_types_shapes_and_places_are_those_of_the_library(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file(TENSORS, path, metadata={"format": "pt"})
    header = read_header(path)
    with safe_open(path, "pt") as library:
        assert set(header) == set(library.keys())
        for name, one in header.items():
            part = library.get_slice(name)
            assert (one.dtype, list(one.shape)) == (part.get_dtype(), part.get_shape())
    data = path.read_bytes()
    for name, tensor in TENSORS.items():
        one = header[name]
        stored = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
        assert data[one.start : one.start + one.size] == stored
        assert (one.values, one.file) == (tensor.numel(), path)


def test_header_has_the_bytes_of_the_library(tmp_path: Path) -> None:
    data = save(TENSORS, metadata={"format": "pt"})
    (tmp_path / "x.safetensors").write_bytes(data)
    header: dict[str, Layout] = dict(tensors_in(tmp_path))
    ours = header_bytes(header, {"format": "pt"})
    assert data.startswith(ours)
    assert len(data) == len(ours) + sum(one.size for one in header.values())


@pytest.mark.parametrize("kept", [0, 5, 8, 100, 500])
def test_file_that_is_cut_short(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(save({"a": torch.ones(200)})[:kept])
    with pytest.raises(QuantmakeError, match=rf"x\.safetensors is damaged or .* \({kept} bytes: "):
        read_header(path)


def test_tensors_of_all_shards_of_a_folder(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "1.safetensors")
    save_file({"b": torch.ones(3)}, tmp_path / "2.safetensors")
    assert {name: one.shape for name, one in tensors_in(tmp_path).items()} == {"a": (2,), "b": (3,)}
    assert tensors_in(tmp_path / "nothing") == {}
