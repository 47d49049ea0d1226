"""The base of an encoder: which models are encoders, how they are pooled, what is kept."""

import json
from pathlib import Path

import pytest

from scripts.base.encoder import EncoderBase, describe
from scripts.base.encoder_config import is_encoder, read_pooling, refuse_no_encoder
from scripts.base.make_base import Base
from scripts.errors import QuantmakeError
from scripts.exec import run_stage
from scripts.forecast import Forecast
from scripts.tensors.outline import outline_of
from tests.encoders import MODULES, make_tiny_bert, write_pooling_files

BERT = {"model_type": "bert", "architectures": ["BertModel"], "max_position_embeddings": 64}
MEAN, CLS = {"pooling_mode_mean_tokens": True}, {"pooling_mode_cls_token": True}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with a masked language model's head."""
    return make_tiny_bert(tmp_path_factory.mktemp("bert"), masked=True)


def test_base_is_fp16_without_head_and_with_its_pooling(source: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForMaskedLM

    run_stage(EncoderBase(), {"source": source}, tmp_path)
    made = load_file(tmp_path / "model.safetensors")
    whole = AutoModelForMaskedLM.from_pretrained(source).bert.state_dict()
    assert made.keys() == whole.keys()
    assert all(torch.equal(made[name], whole[name].half()) for name in made)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["BertModel"]
    pooling = read_pooling(tmp_path)
    assert (pooling.mode, pooling.normalise, pooling.longest) == ("mean", True, 48)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {"model_type": "llama", "architectures": ["LlamaForCausalLM"]},
            "config.json: model_type 'llama' (LlamaForCausalLM) is no encoder that is known here; "
            "those are bert, camembert, distilbert, electra, modernbert, mpnet, roberta, "
            "xlm-roberta. A model that writes text has no `kind: encoder` in the recipe.",
        ),
        (
            {"model_type": "bert", "architectures": ["BertForSequenceClassification"]},
            "config.json: model_type 'bert' (BertForSequenceClassification) has a head that gives "
            "no embeddings; of bert these can be converted: BertModel, BertForMaskedLM, "
            "BertForPreTraining",
        ),
        (
            {"model_type": "bert", "quantization_config": {}},
            "config.json: the source is quantised already (model_type 'bert', "
            "quantization_config); name the model's FP16, BF16 or FP32 weights instead",
        ),
    ],
    ids=["decoder", "classifier", "quantised"],
)
def test_what_is_no_encoder_is_refused_by_name(config: dict[str, object], said: str) -> None:
    refuse_no_encoder({"model_type": "modernbert"})
    with pytest.raises(QuantmakeError) as caught:
        refuse_no_encoder(config)
    assert str(caught.value) == said


def test_encoder_in_a_recipe_of_a_decoder_is_refused_before_any_work(source: Path) -> None:
    said = {"source": Forecast(0, 0, outline_of(source))}
    assert Base().refusal(said) == (
        "the source is an encoder, bert (BertForMaskedLM): it writes no text, but embeds "
        "sentences. Write `kind: encoder` under `model` in the recipe; docs/recipe.md has its "
        "formats"
    )
    assert EncoderBase().refusal(said) == Base().refusal({}) == ""
    assert not is_encoder("bert", ["BertLMHeadModel"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(BERT))
    return tmp_path


@pytest.mark.parametrize(("modes", "mode"), [(MEAN, "mean"), (CLS, "cls")], ids=["mean", "cls"])
@pytest.mark.parametrize("kinds", [MODULES, MODULES[:2]], ids=["normalised", "not"])
def test_pooling_is_read(
    folder: Path, modes: dict[str, bool], mode: str, kinds: tuple[str, ...]
) -> None:
    write_pooling_files(folder, modes, kinds)
    pooling = read_pooling(folder)
    assert (pooling.mode, pooling.normalise) == (mode, kinds == MODULES)
    assert not pooling.assumed


def test_pooling_that_the_source_does_not_say_is_the_mean_and_told(folder: Path) -> None:
    pooling = read_pooling(folder)
    assert (pooling.mode, pooling.longest) == ("mean", 64)
    assert "the source does not say, so these are assumed" in describe(pooling)


def test_positions_that_begin_after_the_padding_are_not_counted(folder: Path) -> None:
    roberta = {"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}
    (folder / "config.json").write_text(json.dumps(roberta))
    assert read_pooling(folder).longest == 512


@pytest.mark.parametrize(
    ("modes", "kinds", "said"),
    [
        (
            {**MEAN, **CLS},
            MODULES,
            "1_Pooling/config.json: the pooling is pooling_mode_mean_tokens, "
            "pooling_mode_cls_token; known are pooling_mode_mean_tokens, pooling_mode_cls_token, "
            "one of them alone",
        ),
        (
            MEAN,
            ("Transformer", "Pooling", "Dense"),
            "modules.json: the embedding is made by Transformer, Pooling, Dense; only "
            "Transformer, Pooling and Normalize are known here",
        ),
    ],
    ids=["two", "dense"],
)
def test_other_poolings_are_refused(
    folder: Path, modes: dict[str, bool], kinds: tuple[str, ...], said: str
) -> None:
    write_pooling_files(folder, modes, kinds)
    with pytest.raises(QuantmakeError) as caught:
        read_pooling(folder)
    assert str(caught.value) == said
