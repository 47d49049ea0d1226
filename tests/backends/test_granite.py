"""Granite 4 has gate and up in one linear: the graph and the GGUF file have its halves."""

from pathlib import Path

import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader

from scripts.backends.captured import captured_name
from scripts.backends.gguf.f16 import F16Gguf
from scripts.backends.gguf.format import GgufFile
from scripts.backends.gguf.imatrix import mean_squares
from scripts.backends.gguf.importance import importances
from scripts.backends.gguf.names import Matrix
from scripts.backends.onnx.blocks.pieces import Pieces
from scripts.backends.onnx.export import OnnxGraph
from scripts.backends.onnx.graph import linears, open_graph
from scripts.base.make_base import Base
from scripts.calibration.capture import Capture
from scripts.calibration.gradients import Gradients
from scripts.calibration.stored import Captured, gradient_squares
from scripts.exec import run_stage
from tests.families import make_family
from tests.same_bytes import write_calibration

pytestmark = pytest.mark.slow
FUSED = "model.layers.1.shared_mlp.input_linear"


@pytest.fixture(scope="module")
def inputs(toolchain: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All that its artefacts are made of."""
    folder = tmp_path_factory.mktemp("granite4")
    made = {"source": make_family("granite4", folder / "source"), "toolchain": toolchain}
    run_stage(Base(), made, folder / "base")
    write_calibration(folder / "base", folder)
    made |= {name: folder / name for name in ("base", "calibration")}
    stages = {"capture": Capture(), "gradients": Gradients(), "graph": OnnxGraph()}
    for name, stage in {**stages, "f16": F16Gguf(tokenizer_pre="smollm")}.items():
        run_stage(stage, made, folder / name)
        made[name] = folder / name
    return made


def test_halves_of_a_gguf_file(inputs: dict[str, Path]) -> None:
    fused = torch.from_numpy(gradient_squares(inputs["gradients"])[FUSED])
    rows = {
        matrix: counts
        for one in importances(inputs["f16"], inputs["capture"], inputs["gradients"])
        for matrix, counts in one.rows.items()
    }
    halves = [rows[Matrix(f"blk.1.ffn_{part}.weight")] for part in ("gate", "up")]
    assert torch.equal(torch.cat(halves), fused)
    means = mean_squares(inputs["f16"], inputs["capture"])
    assert (means["blk.1.ffn_gate.weight"] == means["blk.1.ffn_up.weight"]).all()


def test_gptq_rounds_every_matrix(inputs: dict[str, Path], tmp_path: Path) -> None:
    kind = GgufFile(format="gguf", type="q4_0", method="gptq")
    run_stage(kind, inputs, tmp_path / "gptq.gguf")
    run_stage(GgufFile(format="gguf", type="q4_0"), inputs, tmp_path / "plain.gguf")
    plain = {one.name: one for one in GGUFReader(tmp_path / "plain.gguf").tensors}
    for tensor in GGUFReader(tmp_path / "gptq.gguf").tensors:
        if "blk." in tensor.name and len(tensor.shape) == 2:
            assert tensor.tensor_type == GGMLQuantizationType.Q4_0
            assert (tensor.data != plain[tensor.name].data).any(), tensor.name


def test_halves_of_a_graph(inputs: dict[str, Path], tmp_path: Path) -> None:
    captured = Captured(inputs["capture"])
    model = open_graph(inputs["graph"], tmp_path)
    known = Pieces(model, captured, gradient_squares(inputs["gradients"]))
    by_name = {one.name: one for one in linears(model)}
    halves = [by_name[f"/model/layers.1/mlp/{part}_proj/MatMul"] for part in ("gate", "up")]
    assert [captured_name(one, captured) for one in halves] == [FUSED, FUSED]
    gate, up = (next(known.of(one)) for one in halves)
    assert gate.name != up.name
    fused = torch.from_numpy(gradient_squares(inputs["gradients"])[FUSED])
    assert torch.equal(torch.cat([gate.counts, up.counts]), fused)


def test_norms_of_mamba_layers_may_lose_dimensions_of_1(toolchain: Path, tmp_path: Path) -> None:
    base = {"source": make_family("granite-hybrid", tmp_path / "source"), "toolchain": toolchain}
    run_stage(Base(), base, tmp_path / "base")
    base["base"] = tmp_path / "base"
    run_stage(F16Gguf(tokenizer_pre="smollm"), base, tmp_path / "f16.gguf")
    kind = GgufFile(format="gguf", type="q8_0")
    run_stage(kind, {"f16": tmp_path / "f16.gguf"}, tmp_path / "q8_0.gguf")


@pytest.mark.parametrize(
    ("node", "module"),
    [
        ("linear_attn/qkv_proj", "linear_attn.in_proj_qkv"),  # Qwen 3.5
        ("linear_attn/a_proj", "linear_attn.in_proj_a"),
        ("mlp/down_proj", "shared_mlp.output_linear"),
    ],
)
def test_what_the_builder_calls_otherwise(node: str, module: str) -> None:
    class Node:
        name = f"/model/layers.3/{node}/MatMul"

    class Seen:
        names = (f"model.layers.3.{module}",)

    assert captured_name(Node(), Seen()) == f"model.layers.3.{module}"
