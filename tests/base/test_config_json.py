"""The configuration of a base."""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.base.config_json import read_json, refuse_unknown, write_config
from scripts.errors import QuantmakeError


def test_names_and_versions_go_and_fp16_comes(tmp_path: Path) -> None:
    config = {"model_type": "llama", "_name_or_path": "/home/me/x", "torch_dtype": "bfloat16"}
    config |= {"transformers_version": "4.1", "eos_token_id": 2, "auto_map": {"A": "b"}}
    write_config(config, {}, tmp_path, trust=False)
    assert json.loads((tmp_path / "config.json").read_text()) == {
        "model_type": "llama",
        "eos_token_id": 2,
        "dtype": "float16",
        "torch_dtype": "float16",
    }
    assert json.loads((tmp_path / "generation_config.json").read_text()) == {"eos_token_id": 2}


def test_auto_map_stays_where_the_code_is_trusted(tmp_path: Path) -> None:
    write_config({"auto_map": {"A": "b"}}, {}, tmp_path, trust=True)
    assert read_json(tmp_path / "config.json")["auto_map"] == {"A": "b"}


def test_known_models_pass() -> None:
    refuse_unknown({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, trust=False)
    refuse_unknown({"model_type": "qwen2", "auto_map": {"A": "b"}}, trust=False)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {"model_type": "lama", "architectures": ["LamaForCausalLM"]},
            "config.json: nobody here can convert model_type 'lama' (LamaForCausalLM). Did you "
            "mean 'llama'? The ",
        ),
        (
            {"model_type": "llama", "architectures": ["LlamaForSequenceClassification"]},
            "config.json: model_type 'llama' (LlamaForSequenceClassification) is no causal "
            "language model; of llama this can be converted: LlamaForCausalLM",
        ),
        (
            {"model_type": "own", "architectures": ["Own"], "auto_map": {"AutoModel": "own.Own"}},
            "config.json: transformers does not know model_type 'own' (Own), and running the code "
            "that the model brings along (auto_map) is off. Read that code, and if you trust it "
            "write `trust_remote_code: true` under `model` in the recipe.",
        ),
        (
            {"model_type": "llama", "quantization_config": {"quant_method": "gptq"}},
            "config.json: the source is quantised already (quantization_config: gptq); name the "
            "model's FP16, BF16 or FP32 weights instead",
        ),
    ],
)
def test_what_can_not_be_converted_is_told(config: dict[str, Any], said: str) -> None:
    with pytest.raises(QuantmakeError) as error:
        refuse_unknown(config, trust=False)
    assert str(error.value).startswith(said)


def test_trusted_code_passes() -> None:
    refuse_unknown({"model_type": "own", "auto_map": {"A": "b"}}, trust=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "the source has no config.json"),
        ("{", "config.json of the source is no JSON: Expecting property name"),
        ("[]", "config.json of the source is no JSON object"),
    ],
)
def test_a_missing_or_broken_file_is_told(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(QuantmakeError) as error:
        read_json(tmp_path / "config.json")
    assert str(error.value).startswith(said)
