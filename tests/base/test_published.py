"""What files call otherwise than transformers' models is found again, tensor by tensor."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from scripts.base.published import Converted, published_modules
from scripts.base.skeleton import skeleton
from scripts.tensors.header import tensors_in
from scripts.tensors.mapped import mapped
from tests.families import make_family

# Experts one by one, by other names, stacked in files too; a head of another name; none of these.
FAMILIES = ("qwen3-moe", "mixtral", "granite-moe", "gpt-oss", "lfm2-moe", "gpt-neox", "llama")


@pytest.mark.parametrize("family", FAMILIES)
def test_tensors_are_those_that_transformers_loads(family: str, tmp_path: Path) -> None:
    folder = make_family(family, tmp_path / "base")
    files = mapped(tensors_in(folder))
    bare = skeleton(folder, trust=False)
    bare.compare({name: one.shape for name, one in files.items()}, "the base")
    converted = Converted(bare.model, files)
    whole = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    assert converted.keys() <= whole.keys()
    assert whole.keys() - converted.keys() <= {"lm_head.weight"}
    for name, tensor in converted.items():
        assert torch.equal(tensor.to(whole[name].dtype), whole[name]), name


def test_modules_have_the_names_of_files(tmp_path: Path) -> None:
    folder = make_family("mixtral", tmp_path / "base")
    bare = skeleton(folder, trust=False)
    names = published_modules(Converted(bare.model, mapped(tensors_in(folder))))
    own, stored = "model.layers.1.mlp", "model.layers.1.block_sparse_moe"
    assert names[f"{own}.experts.3.gate_proj"] == f"{stored}.experts.3.w1"
    assert names[f"{own}.experts.3.up_proj"] == f"{stored}.experts.3.w3"
    assert names[f"{own}.experts.3.down_proj"] == f"{stored}.experts.3.w2"
    assert names["lm_head"] == "lm_head"
    assert bare.routers() == {f"model.layers.{at}.block_sparse_moe.gate" for at in range(4)}
    assert bare.linears()[f"{stored}.experts.3.w2"] == (64, 128)
    assert len(bare.linears()) == 4 * (4 + 4 * 3) + 1
