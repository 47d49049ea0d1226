"""FP16 safetensors."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from scripts.base.weights import Weights, write_fp16
from scripts.errors import QuantmakeError


def weights_of(tensors: dict[str, torch.Tensor]) -> Weights:
    return Weights({name: tuple(t.shape) for name, t in tensors.items()}, tensors.__getitem__)


def test_the_bytes_are_those_of_the_safetensors_library(tmp_path: Path) -> None:
    tensors = {"b.weight": torch.randn(3, 5), "a": torch.randn(7), "c": torch.randn(2, 2, 2)}
    write_fp16(weights_of(tensors), tmp_path)
    halves = {name: tensor.half() for name, tensor in tensors.items()}
    save_file(halves, tmp_path / "library.safetensors", metadata={"format": "pt"})
    ours = (tmp_path / "model.safetensors").read_bytes()
    assert ours == (tmp_path / "library.safetensors").read_bytes()


def test_float64_is_rounded_once(tmp_path: Path) -> None:
    # Just above the middle of two FP16 values; through float32 it would lie on the middle.
    value = 1 + 2**-11 + 2**-40
    write_fp16(weights_of({"a": torch.tensor([value], dtype=torch.float64)}), tmp_path)
    assert load_file(tmp_path / "model.safetensors")["a"].item() == 1 + 2**-10


def test_great_models_are_cut_into_shards_that_transformers_reads(
    tiny_base: Path, tmp_path: Path
) -> None:
    tensors = load_file(tiny_base / "model.safetensors")
    for name in ("config.json", "generation_config.json"):
        (tmp_path / name).write_bytes((tiny_base / name).read_bytes())
    write_fp16(weights_of(tensors), tmp_path, shard_bytes=300_000)
    shards = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert shards[0] == f"model-00001-of-{len(shards):05d}.safetensors"
    assert len(shards) > 2
    assert all((tmp_path / name).stat().st_size < 310_000 for name in shards)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert sorted(index["weight_map"]) == sorted(tensors)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float16)
    assert all(torch.equal(model.state_dict()[name], tensors[name]) for name in tensors)


def test_every_tensor_that_fp16_can_not_hold_is_named(tmp_path: Path) -> None:
    tensors = {
        "fine": torch.ones(3),
        "great": torch.tensor([1.0, -70000.0]),
        "nan": torch.tensor([float("nan"), float("inf"), 1.0]),
    }
    with pytest.raises(QuantmakeError) as error:
        write_fp16(weights_of(tensors), tmp_path)
    assert str(error.value) == (
        "2 tensors can't be stored in FP16 (its maximum is 65,504): great (maximum magnitude "
        "70,000); nan (2 values are NaN or infinite in the source). A model like this needs "
        "another base type than FP16, or the source is damaged."
    )
