"""A base from a GGUF file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from scripts.base.make_base import Base
from scripts.errors import QuantmakeError
from tests.base.gguf_file import write_gguf
from tests.base.models import write_model


def make(gguf: Path, out: Path) -> Path:
    out.mkdir()
    Base().run({"source": gguf.parent}, out)
    Base().check({"source": gguf.parent}, out)
    return out


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "gguf").mkdir()
    return tmp_path / "gguf"


def test_a_llama_comes_back_as_it_was(tiny_base: Path, folder: Path, tmp_path: Path) -> None:
    out = make(write_gguf(tiny_base, folder / "tiny.gguf"), tmp_path / "out")
    before, after = (load_file(path / "model.safetensors") for path in (tiny_base, out))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    old, new = (json.loads((path / "config.json").read_text()) for path in (tiny_base, out))
    assert {key: old[key] for key in new if key in old} == {k: new[k] for k in new if k in old}
    assert not {"_name_or_path", "_model_name_or_path"} & new.keys()


def test_a_qwen2_keeps_its_biases_and_an_untied_head(
    tiny_base: Path, folder: Path, tmp_path: Path
) -> None:
    model = write_model(tmp_path / "qwen2", "qwen2", tiny_base, tie_word_embeddings=False)
    (model / "chat_template.jinja").write_text("")
    gguf = write_gguf(model, folder / "q.gguf", architecture="qwen2", pre="qwen2")
    out = make(gguf, tmp_path / "out")
    before, after = (load_file(path / "model.safetensors") for path in (model, out))
    assert all(torch.equal(before[name].half(), after[name]) for name in before)
    assert "lm_head.weight" in after
    loaded = AutoModelForCausalLM.from_pretrained(out)
    assert type(loaded).__name__ == "Qwen2ForCausalLM"


def test_the_end_of_a_turn_ends_generation_too(
    tiny_base: Path, folder: Path, tmp_path: Path
) -> None:
    gguf = write_gguf(tiny_base, folder / "t.gguf", fields={"tokenizer.ggml.eot_token_id": 0})
    out = make(gguf, tmp_path / "out")
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] == [2, 0]


def test_the_tokenizer_and_template_load(tiny_base: Path, folder: Path, tmp_path: Path) -> None:
    out = make(write_gguf(tiny_base, folder / "tiny.gguf"), tmp_path / "out")
    old, new = AutoTokenizer.from_pretrained(tiny_base), AutoTokenizer.from_pretrained(out)
    chat = [{"role": "user", "content": "Who counts 42 lanterns?"}]
    assert old.apply_chat_template(chat) == new.apply_chat_template(chat)
    assert new("hello").keys() == {"input_ids", "attention_mask"}
    assert (new.bos_token, new.eos_token, new.pad_token) == (
        "<|im_start|>",
        "<|im_end|>",
        "<|im_end|>",
    )
    assert not (out / "tokenizer.model").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"architecture": "starcoder2"},
            "x.gguf: GGUF files of the architecture 'starcoder2' can't be imported; known: llama, "
            "qwen2, qwen3. Name the model's Hugging Face folder or repository.",
        ),
        (
            {"fields": {"llama.rope.scaling.type": "yarn"}},
            "x.gguf: the model scales its rotary positions (yarn), which a GGUF file does not "
            "hold in full; name the model's Hugging Face folder or repository",
        ),
        (
            {"tensors": {"rope_freqs.weight": np.ones(16, np.float32)}},
            "x.gguf: the model scales its rotary positions (rope_freqs.weight), which a GGUF file "
            "does not hold in full; name the model's Hugging Face folder or repository",
        ),
        (
            {"tensors": {"blk.0.attn_sinks.weight": np.ones(4, np.float32)}},
            "x.gguf holds tensors that LlamaForCausalLM does not have: blk.0.attn_sinks.weight",
        ),
        (
            {"fields": {"tokenizer.ggml.model": "rwkv"}},
            "x.gguf: the tokenizer model 'rwkv' (RWKV) can't be rebuilt; known: gpt2, gemma4, "
            "llama, bert. Name the model's Hugging Face folder or repository.",
        ),
        (
            {"pre": "viking"},
            "x.gguf: the pre-tokenizer 'viking' (tokenizer.ggml.pre) is not known; known: gpt-2, "
            "mpt, olmo, ",
        ),
        (
            {"pre": None},
            "x.gguf: the file does not say how text is cut before the merges (tokenizer.ggml.pre), "
            "as files of early 2024 and before don't. Name the model's Hugging Face folder or "
            "repository.",
        ),
        (
            {"fields": {"tokenizer.ggml.model": None}},
            "x.gguf lacks the field tokenizer.ggml.model, which an import needs",
        ),
        (
            {"fields": {"tokenizer.ggml.model": 3}},
            "x.gguf: the field tokenizer.ggml.model is no string (found 3)",
        ),
        (
            {"fields": {"tokenizer.ggml.bos_token_id": 4000}},
            "x.gguf: tokenizer.ggml.bos_token_id is 4000, but the vocabulary has 407 tokens",
        ),
        (
            {"fields": {"llama.feed_forward_length": 64}},
            "the tensors of x.gguf are not those that config.json describes (9 differences): ",
        ),
    ],
)
def test_what_can_not_be_imported_with_certainty_is_refused(
    options: dict[str, Any], said: str, tiny_base: Path, folder: Path, tmp_path: Path
) -> None:
    gguf = write_gguf(tiny_base, folder / "x.gguf", **options)
    with pytest.raises(QuantmakeError) as error:
        make(gguf, tmp_path / "out")
    assert str(error.value).startswith(said)


@pytest.mark.parametrize("kept", [2, 30, 5000, 100_000])
def test_a_truncated_file_is_told(kept: int, tiny_base: Path, folder: Path, tmp_path: Path) -> None:
    gguf = write_gguf(tiny_base, folder / "x.gguf")
    gguf.write_bytes(gguf.read_bytes()[:kept])
    with pytest.raises(QuantmakeError) as error:
        make(gguf, tmp_path / "out")
    assert str(error.value).startswith(f"x.gguf is no GGUF file, or is cut short ({kept:,} bytes: ")
