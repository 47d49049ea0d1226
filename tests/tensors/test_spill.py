"""The waiting file against safetensors' own writer."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from scripts.tensors.spill import Spill

KINDS = (
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool),
)


def test_same_bytes_as_save_file_for_every_type(tmp_path: Path) -> None:
    tensors = {}
    for place, kind in enumerate(KINDS):
        tensors[f"z{9 - place}"] = torch.arange(6).reshape(2, 3).to(kind)
        tensors[f"a.{place}"] = torch.ones(5, dtype=kind)
    tensors["scalar"], tensors["empty"] = torch.tensor(2.5), torch.empty(0, 4)
    save_file(tensors, tmp_path / "theirs", metadata={"format": "pt"})
    with Spill(tmp_path) as spill:
        for name, tensor in tensors.items():
            spill.add({name: tensor})
        spill.save(tmp_path / "ours", {"format": "pt"})
        assert spill.sizes() == {name: tensor.nbytes for name, tensor in tensors.items()}
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"ours", "theirs"}


def test_a_view_is_written_as_it_reads(tmp_path: Path) -> None:
    table = torch.arange(12.0).reshape(3, 4)
    with Spill(tmp_path) as spill:
        spill.add({"x": table.T})
        spill.save(tmp_path / "ours", {})
    save_file({"x": table.T.contiguous()}, tmp_path / "theirs", metadata={})
    header = (tmp_path / "ours").read_bytes()
    assert header.endswith(table.T.contiguous().numpy().tobytes())
