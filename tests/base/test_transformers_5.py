"""Folders that transformers 5 wrote are read as what they are."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.base.make_base import Base
from scripts.base.transformers_5 import model_of_version_4, tokenizer_of_version_4
from scripts.errors import QuantmakeError
from scripts.exec import run_stage
from tests.families import FAMILIES, make_family

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 |= {"original_max_position_embeddings": 64}
THETA = {"rope_theta": 500000.0}
PLAIN = {"rope_type": "default", "rope_theta": 10000.0}
FAR = {"rope_type": "default", "rope_theta": 1000000.0}


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("llama", {**LLAMA3, **THETA}, {**THETA, "rope_scaling": LLAMA3}),
        ("llama", PLAIN, {"rope_theta": 10000.0, "rope_scaling": None}),
        (
            "phi",
            {**PLAIN, "partial_rotary_factor": 0.5},
            {"rope_theta": 10000.0, "partial_rotary_factor": 0.5, "rope_scaling": None},
        ),
        (  # pairs of places, for text among images
            "qwen2",
            {**PLAIN, "partial_rotary_factor": 0.25, "mrope_section": [2, 1, 1]},
            {
                **{"rope_theta": 10000.0, "partial_rotary_factor": 0.25},
                "rope_scaling": {"rope_type": "default", "mrope_section": [2, 1, 1]},
            },
        ),
        (
            "gpt_neox",
            {**PLAIN, "partial_rotary_factor": 0.25},
            {"rotary_emb_base": 10000.0, "rotary_pct": 0.25, "rope_scaling": None},
        ),
        (
            "gemma3_text",
            {"full_attention": FAR, "sliding_attention": PLAIN},
            {"rope_theta": 1e6, "rope_scaling": None, "rope_local_base_freq": 1e4},
        ),
        (
            "olmo3",
            {"full_attention": {**LLAMA3, **THETA}, "sliding_attention": {**PLAIN, **THETA}},
            {**THETA, "rope_scaling": LLAMA3},
        ),
        (
            "other",
            {"full_attention": PLAIN, "sliding_attention": PLAIN},
            {"rope_theta": 10000.0, "rope_scaling": None},
        ),
    ],
)
def test_rotary_positions(kind: str, given: dict[str, Any], expected: dict[str, Any]) -> None:
    config = {"model_type": kind, "rope_parameters": given}
    assert model_of_version_4(config) == {"model_type": kind, **expected}


def test_what_version_4_writes_stays() -> None:
    config = {"model_type": "llama", "rope_theta": 1e4, "rope_scaling": LLAMA3, "torch_dtype": "x"}
    assert model_of_version_4(config) == config
    settings = {"tokenizer_class": "LlamaTokenizer", "extra_special_tokens": {"image": "<i>"}}
    assert tokenizer_of_version_4(settings) == settings


def test_experts_and_inner_configurations() -> None:
    moe = {"model_type": "qwen3_moe", "num_local_experts": 4}
    assert model_of_version_4({"text_config": moe}) == {
        "text_config": {"model_type": "qwen3_moe", "num_experts": 4}
    }
    oss = {"model_type": "gpt_oss", "num_local_experts": 4}
    assert model_of_version_4(oss) == oss


def test_kinds_of_layers() -> None:
    config = {"layer_types": ["linear_attention", "full_attention"]}
    granite = model_of_version_4({"model_type": "granitemoehybrid", **config})
    assert granite["layer_types"] == ["mamba", "attention"]
    assert model_of_version_4({"model_type": "qwen3_5_text", **config})["layer_types"] == [
        *("linear_attention", "full_attention")
    ]


def test_a_tokenizer_of_the_new_class() -> None:
    settings = {"tokenizer_class": "TokenizersBackend", "backend": "tokenizers", "is_local": True}
    settings |= {"extra_special_tokens": ["<a>"], "eos_token": "<b>"}
    assert tokenizer_of_version_4(settings) == {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "additional_special_tokens": ["<a>"],
        "eos_token": "<b>",
    }


def test_what_version_4_can_not_say_stays() -> None:
    layers = {"full_attention": {**LLAMA3, **THETA}, "sliding_attention": PLAIN}
    config = {"model_type": "other", "rope_parameters": layers}
    assert model_of_version_4(config) == config
    newer = {"model_type": "ministral3", "rope_parameters": {**PLAIN, "llama_4_scaling_beta": 0.1}}
    assert model_of_version_4(newer) == newer


@pytest.mark.parametrize("family", FAMILIES)
def test_version_5_reads_the_same_from_the_words_of_4(family: str, tmp_path: Path) -> None:
    from transformers import AutoConfig

    FAMILIES[family]().save_pretrained(tmp_path)
    written = AutoConfig.from_pretrained(tmp_path).to_dict()
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(model_of_version_4(config)))
    read = AutoConfig.from_pretrained(tmp_path).to_dict()  # some keep the words of 4 beside
    assert {name: read[name] for name in written} == written


def test_two_things_said_are_told() -> None:
    config = {"rope_theta": 1e4, "rope_parameters": {"rope_theta": 5e4, "rope_type": "default"}}
    text = r"two things .*: rope_theta is 10000\.0, by rope_parameters 50000\.0\. Keep what"
    with pytest.raises(QuantmakeError, match=text):
        model_of_version_4(config)


def test_a_folder_comes_out_as_the_same_model(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = make_family("llama3", tmp_path / "source")
    expected = AutoModelForCausalLM.from_pretrained(source)(torch.arange(5, 200)[None]).logits
    assert "rope_parameters" in json.loads((source / "config.json").read_text())
    settings = json.loads((source / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "TokenizersBackend", "extra_special_tokens": ["<|im_start|>"]}
    (source / "tokenizer_config.json").write_text(json.dumps(settings))
    before = (source / "tokenizer_config.json").read_bytes()
    (tmp_path / "base").mkdir()
    run_stage(Base(), {"source": source}, tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    assert torch.equal(model(torch.arange(5, 200)[None]).logits, expected)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    assert tokenizer.extra_special_tokens == ["<|im_start|>"]
    assert (source / "tokenizer_config.json").read_bytes() == before
