"""Fused experts answer as before, and show what each of them reads."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from scripts.calibration.fused_experts import ExpertLinear, open_experts
from tests.families import make_family


@pytest.mark.parametrize(
    ("family", "prefix"),
    [("gpt-oss", "model.layers.{}.mlp"), ("granite-moe", "model.layers.{}.block_sparse_moe")],
)
def test_the_model_is_the_same_and_each_expert_is_seen(
    family: str, prefix: str, tmp_path: Path
) -> None:
    folder = make_family(family, tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokens = torch.randint(3, 400, (1, 90), generator=torch.Generator().manual_seed(0))
    weights = {*model.state_dict()}
    with torch.inference_mode():
        before = model(tokens).logits
        open_experts(model)
        seen = dict[str, int]()
        for name, module in model.named_modules():
            if isinstance(module, ExpertLinear):
                module.register_forward_pre_hook(
                    lambda _, read, name=name: seen.update({name: len(read[0])})
                )
        torch.testing.assert_close(model(tokens).logits, before)
    assert {*model.state_dict()} == weights
    assert {*seen} <= {
        f"{prefix.format(layer)}.experts.{expert}.{kind}_proj"
        for layer in range(4)
        for expert in range(4)
        for kind in ("gate", "up", "down")
    }
    assert sum(seen.values()) == 4 * 3 * 90 * 2  # layers, matrices, tokens, experts of a token
