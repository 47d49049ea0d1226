"""Of a model that reads pictures or sound too, the base is the language model alone."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from scripts.base.make_base import Base
from scripts.base.multimodal import language_model
from scripts.errors import QuantmakeError
from scripts.exec import run_stage
from scripts.tensors.outline import outline_of
from tests.families import FAMILIES
from tests.tiny import tiny_lines, tiny_tokenizer

_SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
_SMALL |= {"num_attention_heads": 2, "patch_size": 14, "image_size": 28}
_SIGHT: dict[str, dict[str, object]] = {
    "qwen3.5": {"depth": 1, "num_heads": 2, "out_hidden_size": 64, "num_position_embeddings": 16},
    "gemma3": {},
    "gemma4": {"num_key_value_heads": 2, "head_dim": 16},
    "ministral3": {"model_type": "pixtral", "head_dim": 16},
}
_WHOLE = {"qwen3.5": "Qwen3_5", "gemma3": "Gemma3", "gemma4": "Gemma4", "ministral3": "Mistral3"}
_TOKENS = torch.arange(40)[None] * 7


def write_whole(family: str, folder: Path) -> Any:
    """A seeded model with a tower of one layer, which it returns."""
    torch.manual_seed(0)
    name = _WHOLE[family]
    config = getattr(transformers, f"{name}Config")(
        text_config=FAMILIES[family]().to_dict(),
        vision_config={**_SMALL, **_SIGHT[family]},
        **{f"{token}_token_id": 400 + number for number, token in enumerate(("image", "video"))},
    )
    kind = getattr(transformers, f"{name}ForConditionalGeneration")
    kind(config).half().save_pretrained(folder)
    tiny_tokenizer(tiny_lines(2000)).save_pretrained(folder)
    return kind.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.mark.slow
@pytest.mark.parametrize("family", _WHOLE)
def test_it_predicts_what_the_whole_does(
    family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = write_whole(family, tmp_path / "source")
    run_stage(Base(), {"source": tmp_path / "source"}, tmp_path / "base")
    config = json.loads((tmp_path / "base/config.json").read_text())
    [architecture] = config["architectures"]
    assert architecture.endswith("ForCausalLM")
    assert "vision_config" not in config
    stored = load_file(tmp_path / "base/model.safetensors")
    assert {name.partition(".")[0] for name in stored} <= {"model", "lm_head"}
    assert f"the language model alone ({architecture}), {len(stored)} tensors" in (
        capsys.readouterr().out
    )
    seen, of_base = outline_of(tmp_path / "source"), outline_of(tmp_path / "base")
    assert seen is not None
    assert of_base is not None
    assert (seen.model_type, seen.values) == (of_base.model_type, of_base.values)
    alone = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "base", dtype=torch.float32
    )
    with torch.inference_mode():
        ours, theirs = (model(input_ids=_TOKENS).logits for model in (alone.eval(), whole))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_a_head_that_is_not_stored_is_the_embedding(tmp_path: Path) -> None:
    write_whole("ministral3", tmp_path / "source")
    whole = json.loads((tmp_path / "source/config.json").read_text())
    assert whole["text_config"]["tie_word_embeddings"] is False  # and no head is stored
    run_stage(Base(), {"source": tmp_path / "source"}, tmp_path / "base")
    config = json.loads((tmp_path / "base/config.json").read_text())
    assert config["tie_word_embeddings"] is True


def test_tensors_that_no_name_marks_are_compared_with_the_language_model(tmp_path: Path) -> None:
    write_whole("ministral3", tmp_path / "source")
    path = tmp_path / "source/model.safetensors"
    stored = load_file(path)
    save_file({f"other.{name.replace('language_', '')}": one for name, one in stored.items()}, path)
    with pytest.raises(QuantmakeError, match=r"missing: model\.embed_tokens\.weight"):
        run_stage(Base(), {"source": tmp_path / "source"}, tmp_path / "base")


def test_ids_of_tokens_and_a_quantisation_are_those_of_the_whole() -> None:
    text = {"model_type": "ministral3", "vocab_size": 10, "eos_token_id": 7}
    whole = {"architectures": ["Mistral3ForConditionalGeneration"], "text_config": text}
    whole |= {"bos_token_id": 1, "eos_token_id": 2, "quantization_config": {"quant_method": "fp8"}}
    alone = language_model(whole)
    assert alone is not None
    assert (alone["bos_token_id"], alone["eos_token_id"]) == (1, 7)
    assert alone["quantization_config"] == {"quant_method": "fp8"}


def test_quantised_whole_is_refused(tmp_path: Path) -> None:
    write_whole("ministral3", tmp_path / "source")
    path = tmp_path / "source/config.json"
    config = json.loads(path.read_text())
    config["quantization_config"] = {"quant_method": "fp8"}
    path.write_text(json.dumps(config))
    with pytest.raises(QuantmakeError, match=r"quantised already \(quantization_config: fp8\)"):
        run_stage(Base(), {"source": tmp_path / "source"}, tmp_path / "base")


@pytest.mark.parametrize(
    "config",
    [
        {"architectures": ["LlamaForCausalLM"], "model_type": "llama"},
        {
            "architectures": ["T5ForConditionalGeneration"],
            "model_type": "t5",
        },
        {
            "architectures": ["NewForConditionalGeneration"],
            "text_config": {"model_type": "nobody_knows"},
        },
    ],
)
def test_others_stay_as_they_are(config: dict[str, Any]) -> None:
    assert language_model(config) is None
