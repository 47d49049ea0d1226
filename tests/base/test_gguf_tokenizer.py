"""The rebuilt tokenizer gives the ids that llama.cpp gives for the same file."""

import json
import random
from pathlib import Path
from typing import Any

import llama_cpp
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from scripts.base.gguf_bpe import PRES
from scripts.base.gguf_tokenizer import write_tokenizer
from scripts.tensors.gguf_fields import Fields
from tests.base.gguf_file import write_gguf
from tests.tiny import SPECIAL, tiny_lines

TEXTS = [
    "In 1987, 3.14159 and 1234567890!",
    "🚀 (normal) 😶‍🌫️ ✅ 🦙🦙 ½ Ⅷ ²³ ٣٤٥ १२३",
    "我想在apple工作1314151天～ 日本語テスト 한국어 កាន់តែពិសេស нещо",
    "a  b   c    d\t\te\n\n\nf \n  g  \r\n\r\n h\u00a0\u3000i",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "I've 'told he's there, 'RE you sure? WE'LL We'Ve a'lL can't",
    "x<|endoftext|> <|im_end|>y<|im_",
    "\x00\x01\u200b\ufeff",
    " leading",
    "trailing ",
    "",
]
_PIECES = [*"ab 12\n\t'sS.!?é我🦙½٣<|", "<|im_start|>", "<|im_end|>", " the", "'ll", "\r\n"]


def texts() -> list[str]:
    rng = random.Random(0)
    mixed = ["".join(rng.choice(_PIECES) for _ in range(40)) for _ in range(200)]
    return [*TEXTS, *tiny_lines(20), *mixed]


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer.json whose merges cross words, digits and spaces, and miss some whole words.

    Only the cutting before the merges keeps such tokens apart, so that each `pre` shows.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=900,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        max_token_length=8,
    )
    bpe.train_from_iterator([*texts(), *texts(), *tiny_lines(100)], trainer)
    described = json.loads(bpe.to_str())
    words = {"Ġlan", "Ġriver", "Ġfor", "Ġthe", "the", "123"}
    merges = described["model"]["merges"]
    described["model"]["merges"] = [pair for pair in merges if "".join(pair) not in words]
    assert len(described["model"]["merges"]) < len(merges)
    path = tmp_path_factory.mktemp("vocabulary") / "tokenizer.json"
    path.write_text(json.dumps(described))
    return path


Both = tuple[llama_cpp.Llama, PreTrainedTokenizerBase]


def both(base: Path, folder: Path, pre: str, vocabulary: Path, **fields: Any) -> Both:
    """llama.cpp's tokenizer of a GGUF file, and the one rebuilt from the file's fields."""
    named = {f"tokenizer.ggml.{key}": value for key, value in fields.items()}
    gguf = write_gguf(base, folder / "t.gguf", pre=pre, fields=named, tokenizer=vocabulary)
    write_tokenizer(Fields.of(gguf), 1024, folder / "out")
    reference = llama_cpp.Llama(str(gguf), vocab_only=True, verbose=False)
    return reference, AutoTokenizer.from_pretrained(folder / "out")


@pytest.mark.parametrize("pre", sorted(PRES))
def test_ids_are_llama_cpps_and_decode_to_the_text(
    pre: str, tiny_base: Path, vocabulary: Path, tmp_path: Path
) -> None:
    reference, tokenizer = both(tiny_base, tmp_path, pre, vocabulary, add_bos_token=False)
    for text in texts():
        ids = tokenizer(text)["input_ids"]
        assert ids == reference.tokenize(text.encode(), add_bos=True, special=True), repr(text)
        assert tokenizer.decode(ids) == text


def test_the_texts_tell_the_kinds_of_cutting_apart(
    tiny_base: Path, vocabulary: Path, tmp_path: Path
) -> None:
    seen = set()
    for pre in ("gpt-2", "smollm", "llama-bpe", "qwen2"):
        (tmp_path / pre).mkdir()
        _, tokenizer = both(tiny_base, tmp_path / pre, pre, vocabulary, add_bos_token=False)
        seen.add(str([tokenizer(text)["input_ids"] for text in texts()]))
    assert len(seen) == 4


@pytest.mark.parametrize("add_bos", [True, False, None])
@pytest.mark.parametrize("pre", ["smollm", "llama-bpe"])
def test_the_first_token_is_the_files_policy(
    pre: str, add_bos: bool | None, tiny_base: Path, vocabulary: Path, tmp_path: Path
) -> None:
    reference, tokenizer = both(tiny_base, tmp_path, pre, vocabulary, add_bos_token=add_bos)
    expected = reference.tokenize(b"old Agnes", add_bos=True, special=True)
    assert tokenizer("old Agnes")["input_ids"] == expected
    policy = pre == "llama-bpe" if add_bos is None else add_bos
    assert (expected[0] == tokenizer.bos_token_id) == policy


def test_control_tokens_are_special_and_user_defined_ones_are_text(
    tiny_base: Path, tmp_path: Path
) -> None:
    described = json.loads((tiny_base / "tokenizer.json").read_text())
    described["added_tokens"][0]["special"] = False
    (tmp_path / "tokenizer.json").write_text(json.dumps(described))
    gguf = write_gguf(tiny_base, tmp_path / "t.gguf", tokenizer=tmp_path / "tokenizer.json")
    write_tokenizer(Fields.of(gguf), 1024, tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    reference = llama_cpp.Llama(str(gguf), vocab_only=True, verbose=False)
    text = "<|im_start|>old<|endoftext|>Agnes<|im_end|>"
    ids = tokenizer(text)["input_ids"]
    assert ids == reference.tokenize(text.encode(), add_bos=False, special=True)
    bare = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    assert bare.decode(ids, skip_special_tokens=True) == "old<|endoftext|>Agnes"
