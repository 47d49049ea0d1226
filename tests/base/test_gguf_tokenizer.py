"""The rebuilt tokenizer gives the ids that llama.cpp gives for the same file."""

import random
from pathlib import Path
from typing import Any

import llama_cpp
import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from scripts.base.gguf_tokenizer import PRES
from scripts.base.make_base import Base
from tests.base.gguf_file import write_gguf
from tests.tiny import tiny_lines

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


def both(
    base: Path, folder: Path, pre: str, **fields: Any
) -> tuple[llama_cpp.Llama, PreTrainedTokenizerBase]:
    (folder / "gguf").mkdir()
    (folder / "out").mkdir()
    named = {f"tokenizer.ggml.{key}": value for key, value in fields.items()}
    gguf = write_gguf(base, folder / "gguf" / "t.gguf", pre=pre, fields=named)
    Base().run({"source": gguf.parent}, folder / "out")
    reference = llama_cpp.Llama(str(gguf), vocab_only=True, verbose=False)
    return reference, AutoTokenizer.from_pretrained(folder / "out")


@pytest.mark.parametrize("pre", sorted(PRES))
def test_ids_are_llama_cpps_and_decode_to_the_text(
    pre: str, tiny_base: Path, tmp_path: Path
) -> None:
    reference, tokenizer = both(tiny_base, tmp_path, pre)
    for text in texts():
        ids = tokenizer(text)["input_ids"]
        assert ids == reference.tokenize(text.encode(), add_bos=True, special=True), repr(text)
        assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("add_bos", [True, False, None])
@pytest.mark.parametrize("pre", ["smollm", "llama-bpe"])
def test_the_first_token_is_the_files_policy(
    pre: str, add_bos: bool | None, tiny_base: Path, tmp_path: Path
) -> None:
    reference, tokenizer = both(tiny_base, tmp_path, pre, add_bos_token=add_bos)
    expected = reference.tokenize(b"old Agnes", add_bos=True, special=True)
    assert tokenizer("old Agnes")["input_ids"] == expected
    assert (expected[0] == tokenizer.bos_token_id) == (
        pre == "llama-bpe" if add_bos is None else add_bos
    )
