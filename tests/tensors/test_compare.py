"""Two results that differ are told apart by their tensors, in each kind of file."""

import shutil
from pathlib import Path

import numpy as np
import onnx
from gguf import GGUFReader
from onnx import numpy_helper
from safetensors.torch import load_file, save_file

from scripts.backends.bitsandbytes.format import Bitsandbytes4bit
from scripts.backends.gguf.format import GgufFile
from scripts.backends.onnx.formats.rtn import OnnxRtn
from scripts.exec import run_stage
from scripts.tensors.compare import first_difference


def test_first_by_the_order_of_the_file() -> None:
    before = {"b": np.zeros(4, np.float32), "a": np.arange(6, dtype=np.uint8)}
    after = {"b": np.array([0, 0, 0.5, 0], np.float32), "a": before["a"][::-1].copy()}

    def lazily(arrays: dict[str, np.ndarray]) -> dict[str, object]:
        return {name: lambda one=one: one for name, one in arrays.items()}

    assert first_difference(lazily(before), lazily(before)) == ""
    assert first_difference(lazily(before), lazily(after)) == (
        "2 of 2 tensors differ, first b: 1 of 4 values, by at most 0.5"
    )
    assert first_difference(lazily(before), lazily({"b": before["b"]})) == (
        "tensors that only one has: a"
    )
    other = {**before, "a": np.zeros((2, 3), np.int8)}
    assert first_difference(lazily(before), lazily(other)).endswith("uint8 [6] → int8 [2, 3]")


def test_bitsandbytes(tiny_base: Path, tmp_path: Path) -> None:
    stage = Bitsandbytes4bit(format="bitsandbytes")
    run_stage(stage, {"base": tiny_base}, tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    weights = load_file(tmp_path / "other/model.safetensors")
    weights["model.norm.weight"][3] += 1
    save_file(weights, tmp_path / "other/model.safetensors", {"format": "pt"})
    said = stage.difference(tmp_path / "one", tmp_path / "other")
    assert said.startswith(
        f"1 of {len(weights)} tensors differ, first model.norm.weight: 1 of 128 "
    )
    assert ", by at most 1, " in said


def test_onnx(tiny_graph: Path, tmp_path: Path) -> None:
    stage = OnnxRtn(format="onnx", bits=8, method="rtn")
    run_stage(stage, {"graph": tiny_graph}, tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    model = onnx.load(tmp_path / "other/model.onnx")
    tensor = next(one for one in model.graph.initializer if one.name.endswith("_scales"))
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] *= 2
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, tmp_path / "other/model.onnx")
    said = stage.difference(tmp_path / "one", tmp_path / "other")
    assert f"tensors differ, first {tensor.name}: 1 of {values.size:,} values" in said
    model.graph.node[0].name = "another"
    shutil.rmtree(tmp_path / "other")
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    assert stage.difference(tmp_path / "one", tmp_path / "other").startswith(
        "the tensors are equal"
    )


def test_gguf(tiny_f16: Path, tmp_path: Path) -> None:
    stage = GgufFile(format="gguf", type="q4_0")
    run_stage(stage, {"f16": tiny_f16}, tmp_path / "one.gguf")
    shutil.copy(tmp_path / "one.gguf", tmp_path / "other.gguf")
    tensor = next(
        one for one in GGUFReader(tmp_path / "other.gguf", "r+").tensors if "ffn_up" in one.name
    )
    tensor.data.flat[7] ^= 1
    tensor.data.base.flush()
    said = stage.difference(tmp_path / "one.gguf", tmp_path / "other.gguf")
    assert said.startswith("1 of 29 tensors differ, first blk.0.ffn_up.weight: 1 of ")
