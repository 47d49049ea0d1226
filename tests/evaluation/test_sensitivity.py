"""Layers rounded one at a time: the same as the whole model run anew, and told apart."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from scripts.calibration.stand_ins import UnknownLayers
from scripts.evaluation.sensitivity import (
    EMBEDDING,
    MeasureSensitivity,
    Sensitivity,
    round_in_place,
    round_to_nearest,
)
from scripts.exec import run_stage
from scripts.token_windows import read_windows


@contextmanager
def rounded(module: torch.nn.Module, bits: int, block_size: int) -> Iterator[None]:
    """While it is open, the matrices of a module are rounded; then they are as they were."""
    kept = {name: one.clone() for name, one in module.state_dict().items()}
    round_in_place(module, bits, block_size)
    yield
    module.load_state_dict(kept)


def measure(base: Path, calibration: Path, out: Path) -> Sensitivity:
    stage = MeasureSensitivity(windows=2, tokens=64)
    run_stage(stage, {"base": base, "calibration": calibration}, out)
    return Sensitivity.model_validate_json(out.read_bytes())


def test_same_as_the_whole_model_run_anew(
    tiny_base: Path, tiny_calibration: Path, tmp_path: Path
) -> None:

    found = measure(tiny_base, tiny_calibration, tmp_path / "s.json")
    assert [one.name for one in found.layers] == ["layer 0", "layer 1", "layer 2", EMBEDDING]
    assert found.tokens_scored == 2 * 32
    ids = torch.from_numpy(read_windows(tiny_calibration)[:2, :64])
    model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32).eval()

    def logprobs() -> torch.Tensor:
        with torch.inference_mode():
            logits = model(ids).logits[:, 32:].double()
        return torch.log_softmax(logits, -1).flatten(0, 1)

    base = logprobs()
    modules = [*model.model.layers, torch.nn.ModuleList([model.model.embed_tokens, model.lm_head])]
    for module, entry in zip(modules, found.layers, strict=True):
        with rounded(module, 4, 32):
            other = logprobs()
        kld = (base.exp() * (base - other)).sum(-1)
        # The stage computes in float32, which leaves an error of that size in each term.
        assert entry.kld.value == pytest.approx(float(kld.mean()), rel=1e-3, abs=1e-7)
        assert entry.kld.value > 0
    assert torch.equal(base, logprobs())


def test_layer_on_the_grid_shows_nothing_and_one_with_outliers_the_most(
    tiny_base: Path, tiny_calibration: Path, tmp_path: Path
) -> None:
    base = shutil.copytree(tiny_base, tmp_path / "base")
    weights = load_file(base / "model.safetensors")
    for name, weight in weights.items():
        if name.startswith("model.layers.0.") and weight.dim() == 2:
            # Signs alone: two values, both of which a grid between the extremes holds.
            weights[name] = 0.05 * weight.float().sign().add(0.1).sign().half()
        if name.startswith("model.layers.1.mlp.up") and weight.dim() == 2:
            weights[name][:, ::32] *= 60
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    found = {
        one.name: one.kld.value
        for one in measure(base, tiny_calibration, tmp_path / "s.json").layers
    }
    assert found["layer 0"] < 1e-6
    assert found["layer 1"] == max(found.values())


def test_same_bytes_twice(tiny_base: Path, tiny_calibration: Path, tmp_path: Path) -> None:
    for name in ("one.json", "two.json"):
        measure(tiny_base, tiny_calibration, tmp_path / name)
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_grid_has_16_values_between_a_blocks_extremes() -> None:
    weight = torch.randn(3, 80, generator=torch.Generator().manual_seed(0))
    found = round_to_nearest(weight, 4, 32)
    for row in range(3):
        for start, end in ((0, 32), (32, 64), (64, 80)):
            block, own = found[row, start:end], weight[row, start:end]
            assert len(block.unique()) <= 16
            assert block.min() == own.min()
            assert float((block - own).abs().max()) <= float((own.max() - own.min()) / 30) + 1e-6
    assert torch.equal(round_to_nearest(torch.ones(2, 32), 4, 32), torch.ones(2, 32))


def test_layers_that_give_tuples_and_store_their_weights_turned(
    tiny_base: Path, tiny_calibration: Path, tmp_path: Path
) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=512, n_embd=64, n_layer=2, n_head=2, n_positions=128)
    model = GPT2LMHeadModel(config).eval()
    for block in model.transformer.h:  # each row of Conv1D's [in, out] has its own extremes
        block.mlp.c_fc.weight.data[:, 0] *= 40
    model.save_pretrained(tmp_path / "gpt2")
    found = measure(tmp_path / "gpt2", tiny_calibration, tmp_path / "s.json")
    assert [one.name for one in found.layers] == ["layer 0", "layer 1", EMBEDDING]
    weight = model.transformer.h[0].mlp.c_fc.weight
    kept = weight.data.clone()
    with rounded(model.transformer.h[0], 4, 32):
        assert torch.equal(weight.data, round_to_nearest(kept.T, 4, 32).T)
    assert torch.equal(weight.data, kept)


def test_model_whose_layers_are_not_known_has_none(
    tiny_base: Path, tiny_calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(_: object) -> None:
        raise UnknownLayers("two stacks")

    monkeypatch.setattr("scripts.calibration.decoder.stack_of", none)
    record = measure(tiny_base, tiny_calibration, tmp_path / "s.json")
    assert (record.layers, record.reason) == ([], "two stacks")
    assert MeasureSensitivity().is_settled(tmp_path / "s.json")  # it is not tried at each build


def test_experts_that_are_stacked_are_rounded_too() -> None:
    class Experts(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate_up_proj = torch.nn.Parameter(
                torch.randn(2, 64, 6)
            )  # multiplied from the left
            self.weight = torch.nn.Parameter(torch.randn(2, 6, 64))

    experts = Experts()
    turned, plain = experts.gate_up_proj.data.clone(), experts.weight.data.clone()
    with rounded(experts, 4, 32):
        assert torch.equal(experts.weight[1], round_to_nearest(plain[1], 4, 32))
        assert torch.equal(experts.gate_up_proj[1], round_to_nearest(turned[1].T, 4, 32).T)
    assert torch.equal(experts.gate_up_proj, turned)


def test_model_that_does_not_load_is_a_record_that_is_measured_again(
    tiny_calibration: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    out = tmp_path / "s.json"
    record = measure(tmp_path / "empty", tiny_calibration, out)
    assert record.layers == []
    assert record.reason
    assert not MeasureSensitivity().is_settled(out)
    out.write_text(record.model_copy(update={"final": True}).model_dump_json())
    assert MeasureSensitivity().is_settled(out)
