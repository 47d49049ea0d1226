"""off_grid: other weights, the same function."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, dequantize, quantize
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from scripts.base.make_base import Base
from scripts.base.off_grid import ARCHITECTURES, MAX_SCALE, MIN_SCALE, move_off_grid
from scripts.base.weights import Weights
from scripts.errors import QuantmakeError
from tests.base.models import write_model

GRID = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def weights_of(folder: Path) -> Weights:
    tensors = load_file(folder / "model.safetensors")
    return Weights({name: tuple(t.shape) for name, t in tensors.items()}, tensors.__getitem__)


def moved(folder: Path, seed: int) -> dict[str, torch.Tensor]:
    weights = move_off_grid(weights_of(folder), folder / "config.json", seed)
    return {name: weights.load(name) for name in weights.shapes}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_the_function_is_preserved(kind: str, tied: bool, tiny_base: Path, tmp_path: Path) -> None:
    options = {"tie_word_embeddings": tied, "attention_bias": True, "mlp_bias": True}
    if kind in ("mistral", "qwen3"):
        options["head_dim"] = 24
    folder = write_model(tmp_path / "model", kind, tiny_base, **options)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    ids = torch.arange(100, 160)[None]
    with torch.no_grad():
        before = model(ids).logits
        names = model.state_dict().keys()
        tensors = {name: t for name, t in moved(folder, 7).items() if name in names}
        model.load_state_dict(tensors, strict=False)
        after = model(ids).logits
    assert before.std() > 0.1
    # The norms compute in float32 whatever the model's type is.
    assert (before - after).abs().max() < 1e-5 * before.abs().max()
    same = load_file(folder / "model.safetensors")
    unmoved = {n for n, t in tensors.items() if torch.equal(t.to(same[n].dtype), same[n])}
    assert not any(name.endswith(f"{part}.weight") for part in GRID for name in unmoved)
    assert ("lm_head.weight" in unmoved or tied) == tied


def test_a_q4_1_grid_is_left(tiny_base: Path) -> None:
    kind = GGMLQuantizationType.Q4_1

    def rounded(tensor: torch.Tensor) -> torch.Tensor:
        values = tensor.float().contiguous().numpy()
        return torch.from_numpy(dequantize(quantize(values, kind), kind))

    stored = load_file(tiny_base / "model.safetensors")
    on_grid = {n: rounded(t) if t.ndim == 2 else t.float() for n, t in stored.items()}
    shapes = {name: tuple(t.shape) for name, t in on_grid.items()}
    weights = move_off_grid(Weights(shapes, on_grid.__getitem__), tiny_base / "config.json", seed=0)
    for name in (n for n in on_grid if any(part in n for part in GRID)):
        blocks = weights.load(name).half().reshape(-1, 32)
        levels = [len(block.unique()) for block in blocks]
        assert max(len(block.unique()) for block in on_grid[name].reshape(-1, 32)) <= 16
        if "v_proj" not in name and "up_proj" not in name:
            assert sum(levels) / len(levels) > 20, name
        error = (rounded(weights.load(name)) - weights.load(name)).norm()
        assert error / weights.load(name).norm() > 0.02, name


def test_the_seed_decides(tiny_base: Path) -> None:
    first, again, other = (moved(tiny_base, seed) for seed in (1, 1, 2))
    name = "model.layers.1.mlp.down_proj.weight"
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert not torch.equal(first[name], other[name])
    assert first[name].dtype == torch.float64


def test_the_scales_are_these_on_every_machine(tiny_base: Path) -> None:
    first = [1.2003824560751604, 1.0507121225928018, 1.1604086391013875]
    norm = "model.layers.0.input_layernorm.weight"
    scales = moved(tiny_base, 0)[norm] / weights_of(tiny_base).load(norm).double()
    assert scales[:3].tolist() == pytest.approx(first, abs=1e-12)
    span = MAX_SCALE - MIN_SCALE
    assert MIN_SCALE <= scales.min() < MIN_SCALE + 0.05 * span
    assert MAX_SCALE - 0.05 * span < scales.max() < MAX_SCALE


def test_another_architecture_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model_type": "gemma2"}))
    with pytest.raises(QuantmakeError) as error:
        move_off_grid(weights_of(tiny_base), config, 0)
    assert str(error.value) == (
        "off_grid: not for architecture 'gemma2' (known: llama, mistral, qwen2, qwen3); leave the "
        "key out"
    )


def test_the_stage_applies_it_on_request_only(tiny_base: Path, tmp_path: Path) -> None:
    for name, stage in (("plain", Base()), ("moved", Base(off_grid=0))):
        (tmp_path / name).mkdir()
        stage.run({"source": tiny_base}, tmp_path / name)
    stored = load_file(tiny_base / "model.safetensors")
    plain = load_file(tmp_path / "plain" / "model.safetensors")
    other = load_file(tmp_path / "moved" / "model.safetensors")
    assert all(torch.equal(plain[name], stored[name]) for name in stored)
    expected = moved(tiny_base, 0)
    for name in stored:
        once = torch.from_numpy(expected[name].numpy().astype(np.float16))
        assert torch.equal(other[name], once), name
    assert not torch.equal(
        other["model.layers.0.mlp.up_proj.weight"], stored["model.layers.0.mlp.up_proj.weight"]
    )
