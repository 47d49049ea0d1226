"""tokenizer.json becomes tokenizer.model where that is exact; llama.cpp then cuts text alike."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from sentencepiece import SentencePieceProcessor

from scripts.backends.gguf import tokenisation
from scripts.backends.gguf.f16 import F16Gguf
from scripts.backends.gguf.sentencepiece_model import (
    NAME,
    NotExactError,
    is_sentencepiece,
    write_model,
)
from scripts.base.make_base import Base
from scripts.errors import QuantmakeError
from scripts.exec import run_stage
from tests.families import make_family
from tests.sentencepiece_folder import sentencepiece_tokenizer
from tests.tiny import tiny_lines

SIZE = 410
TEXTS = [*tiny_lines(20, 7), "我想 🦙 1234567 ½  x   y\n\n--------", "The river\t\tforgets"]


def folder_of(path: Path, *, gemma: bool) -> Path:
    sentencepiece_tokenizer(SIZE, gemma=gemma).save_pretrained(path)
    return path


@pytest.mark.parametrize("gemma", [True, False])
def test_sentencepiece_itself_gives_the_same_ids(gemma: bool, tmp_path: Path) -> None:
    base = folder_of(tmp_path / "base", gemma=gemma)
    tokenizer = sentencepiece_tokenizer(SIZE, gemma=gemma)
    write_model(base, tmp_path)
    made = SentencePieceProcessor(str(tmp_path / NAME))
    assert made.GetPieceSize() == SIZE
    for text in TEXTS:
        assert made.Encode(text) == tokenizer(text, add_special_tokens=False)["input_ids"], text


def _without_a_merge(described: dict[str, Any]) -> None:
    described["model"]["merges"].pop()


def _whole_words(described: dict[str, Any]) -> None:
    described["model"]["ignore_merges"] = True


def _no_unknown(described: dict[str, Any]) -> None:
    described["model"]["unk_token"] = None


def _lowercase(described: dict[str, Any]) -> None:
    described["normalizer"] = {"type": "Lowercase"}


def _no_byte(described: dict[str, Any]) -> None:
    vocabulary = described["model"]["vocab"]
    vocabulary["other"] = vocabulary.pop("<0x41>")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_without_a_merge, "1 tokens are not merged of all pairs that make them, such as "),
        (_whole_words, "it takes whole words before it merges (ignore_merges)"),
        (_no_unknown, "it has no unknown token"),
        (_lowercase, "it changes or cuts text by Lowercase"),
        (_no_byte, "it lacks the tokens of single bytes <0x41>"),
    ],
)
def test_what_is_not_exact_is_told(change: Any, said: str, tmp_path: Path) -> None:
    base = folder_of(tmp_path / "base", gemma=False)
    described = json.loads((base / "tokenizer.json").read_text())
    change(described)
    (base / "tokenizer.json").write_text(json.dumps(described))
    with pytest.raises(NotExactError, match=f"^{re.escape(said)}"):
        write_model(base, tmp_path)


def test_what_is_no_sentencepiece_vocabulary(tiny_base: Path, tmp_path: Path) -> None:
    assert not is_sentencepiece(tiny_base)
    assert is_sentencepiece(folder_of(tmp_path / "base", gemma=True))


@pytest.fixture
def base_of(tmp_path: Path) -> Any:
    def make(family: str) -> Path:
        out = tmp_path / "base"
        out.mkdir()
        run_stage(Base(), {"source": make_family(family, tmp_path / "source")}, out)
        assert not (out / NAME).exists()
        return out

    return make


@pytest.mark.slow  # the converter runs in a process of its own
@pytest.mark.parametrize("family", ["phi3", "gemma2"])
def test_llama_cpp_cuts_text_as_the_published_tokenizer(
    family: str, base_of: Any, toolchain: Path, tmp_path: Path
) -> None:
    base, out = base_of(family), tmp_path / "f16.gguf"
    run_stage(F16Gguf(), {"base": base, "toolchain": toolchain}, out)
    assert tokenisation.difference(out, base) == ""
    assert not list(tmp_path.glob(".convert-*"))


@pytest.mark.slow
def test_a_file_that_is_missing_and_can_not_be_made(
    base_of: Any, toolchain: Path, tmp_path: Path
) -> None:
    base = base_of("phi3")
    described = json.loads((base / "tokenizer.json").read_text())
    _without_a_merge(described)
    (base / "tokenizer.json").write_text(json.dumps(described))
    text = (
        r"makes the vocabulary of Phi3ForCausalLM from the file tokenizer\.model "
        r"\(SentencePiece\), which the source does not have, and none can be made of its "
        r"tokenizer\.json: 1 tokens are not merged of all .* put it into the source's folder\.$"
    )
    with pytest.raises(QuantmakeError, match=text):
        F16Gguf().run({"base": base, "toolchain": toolchain}, tmp_path / "f16.gguf")


def test_other_tokens_than_the_published_ones_are_told(tiny_f16: Path, tmp_path: Path) -> None:
    base = folder_of(tmp_path / "base", gemma=False)
    text = "llama.cpp would cut text otherwise than the model's own tokenizer: 'In 1987 the 42nd"
    with pytest.raises(QuantmakeError, match=text):
        F16Gguf()._check_tokens(base, tiny_f16)
