"""The sizes of a model from headers alone."""

from math import prod
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from scripts.benchmarks.seeded_model import SIZES
from scripts.forecast import Outline
from scripts.tensors.outline import outline_of

SHAPES = SIZES["3B"].tensors()


def test_outline_counts_values() -> None:
    outline = Outline.of(SHAPES)
    assert outline.values == sum(map(prod, SHAPES.values()))
    assert outline.layers == 28
    assert outline.layer * 28 == outline.layered == outline.values - 2 * 32000 * 3072 - 3072
    assert (outline.largest, outline.rows) == (32000 * 3072, 32000)
    assert outline.hessian == 8192**2
    assert outline.hessians == 3 * 3072**2 + 8192**2
    assert outline.all_hessians == 28 * outline.hessians


ATTENTION = {
    "model.layers.0.self_attn.q_proj.weight": (64, 32),
    "model.layers.0.self_attn.k_proj.weight": (16, 32),
    "model.layers.0.self_attn.o_proj.weight": (32, 64),
    "model.layers.0.mlp.gate.weight": (4, 32),
}
APART = {
    f"model.layers.0.mlp.experts.{expert}.{name}.weight": shape
    for expert in range(4)
    for name, shape in {"gate_proj": (8, 32), "up_proj": (8, 32), "down_proj": (32, 8)}.items()
}
STACKED = {
    "model.layers.0.mlp.experts.gate_up_proj": (4, 16, 32),
    "model.layers.0.mlp.experts.down_proj": (4, 32, 8),
}
OF_GGUF = {
    "blk.0.attn_q.weight": (64, 32),
    "blk.0.attn_k.weight": (16, 32),
    "blk.0.attn_output.weight": (32, 64),
    "blk.0.ffn_gate_exps.weight": (4, 8, 32),
    "blk.0.ffn_gate_inp.weight": (4, 32),
    "blk.0.ffn_up_exps.weight": (4, 8, 32),
    "blk.0.ffn_down_exps.weight": (4, 32, 8),
}


@pytest.mark.parametrize("shapes", [ATTENTION | APART, ATTENTION | STACKED, OF_GGUF])
def test_each_expert_has_hessians_of_its_own(shapes: dict[str, tuple[int, ...]]) -> None:
    outline = Outline.of(shapes)
    router = 0 if shapes is OF_GGUF else 32**2  # there it counts with the experts
    assert outline.hessians == 32**2 + 64**2 + router + 4 * (32**2 + 8**2)
    assert (outline.hessian, outline.layers) == (64**2, 1)
    assert outline.layer == outline.values == 64 * 32 + 16 * 32 + 32 * 64 + 4 * 32 + 4 * 3 * 8 * 32


def test_outline_is_read_from_all_shards(tmp_path: Path) -> None:
    save_file({"model.embed_tokens.weight": torch.zeros(8, 4)}, tmp_path / "a.safetensors")
    save_file({"model.layers.0.mlp.up_proj.weight": torch.zeros(6, 4)}, tmp_path / "b.safetensors")
    outline = outline_of(tmp_path)
    assert outline is not None
    assert (outline.values, outline.layered, outline.layers) == (56, 24, 1)


@pytest.mark.parametrize("bytes_", [b"", b"12345678", b"\xff" * 64])
def test_what_can_not_be_read_has_no_outline(tmp_path: Path, bytes_: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(bytes_)
    assert outline_of(tmp_path) is None
    assert outline_of(tmp_path / "nothing") is None
