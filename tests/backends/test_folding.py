"""Factors move from an activation into the weights, and the model computes the same."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from scripts.backends.folding import Site, fold, sites
from scripts.errors import QuantmakeError
from tests.families import make_family


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_model_computes_the_same(family: str, tmp_path: Path) -> None:
    base = make_family(family, tmp_path / "base")
    generator = torch.Generator().manual_seed(0)

    def choose(site: Site, weight: torch.Tensor) -> torch.Tensor:
        random = torch.rand(weight.shape[1], generator=generator) + 0.5
        return torch.from_numpy(site.shared(random.numpy()))

    folding = fold(base, sites(base, "a test"), choose)
    assert len(folding.columns) == 4 * 7
    tensors = load_file(base / "model.safetensors")
    moved = {name: folding.folded(name, one) for name, one in tensors.items()}
    for name, one in moved.items():
        if name in folding.rows and one.ndim == 1 and "norm" in name:
            assert torch.allclose(one, one.half().float(), rtol=1e-6)  # it will be stored so
    shutil.copytree(base, tmp_path / "moved")
    save_file(moved, tmp_path / "moved/model.safetensors", metadata={"format": "pt"})
    got, want = (
        AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        for path in (tmp_path / "moved", base)
    )
    ids = torch.arange(20, 52)[None]
    with torch.inference_mode():
        difference = (got(ids).logits - want(ids).logits).abs().max()
        spread = want(ids).logits.std()
    assert difference < 1e-4 * spread
    q = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(moved[q], tensors[q].float())


def test_hessian_is_that_of_the_divided_inputs(tmp_path: Path) -> None:
    base = make_family("llama", tmp_path / "base")
    name = "model.layers.1.mlp.down_proj.weight"
    folding = fold(base, sites(base, "a test"), lambda _, weight: torch.full((weight.shape[1],), 2))
    inputs = torch.randn(50, 128, generator=torch.Generator().manual_seed(1))
    found = folding.hessian(name, inputs.T @ inputs)
    assert torch.allclose(found, (inputs / 2).T @ (inputs / 2))


def test_other_families_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma2"}))
    text = "method: awq scales activations, and for the architecture 'gemma2' it is not known"
    with pytest.raises(QuantmakeError, match=text):
        sites(tmp_path, "method: awq")
