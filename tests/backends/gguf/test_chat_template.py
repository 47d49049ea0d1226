"""The chat template in a GGUF file: llama.cpp's and its Python binding's rendering of it beside
transformers' rendering of the base's."""

import ctypes
from pathlib import Path
from typing import Any

import llama_cpp
import pytest
from llama_cpp.llama_chat_format import Jinja2ChatFormatter

from scripts.cards.chat_template import conversations
from scripts.tensors.gguf_fields import Fields
from scripts.texts import load_tokenizer

CONTENTS = (
    ("Tell me of herons.", "They fish at dawn.", "And the otters?", "Answer in one line."),
    (" spaces, \n\n and lines \n", "<b>Ä 漢字 🦦</b>", "", '"quoted" {{ twice }}'),
)
TALKS = [talk for contents in CONTENTS for talk in conversations(contents)]


def expected(tokenizer: Any, talk: list[dict[str, str]], *, answers: bool) -> str:
    """By transformers."""
    text: str = tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=answers)
    return text


def by_llama_cpp(template: str, talk: list[dict[str, str]], *, answers: bool) -> str:
    """By llama_chat_apply_template (include/llama.h)."""
    fields = [(one["role"].encode(), one["content"].encode()) for one in talk]
    messages = (llama_cpp.llama_chat_message * len(talk))(
        *(llama_cpp.llama_chat_message(role, content) for role, content in fields)
    )
    room = ctypes.create_string_buffer(1 << 16)
    size = llama_cpp.llama_chat_apply_template(
        template.encode(), messages, len(talk), answers, room, len(room)
    )
    assert 0 <= size <= len(room)
    return room.raw[:size].decode()


@pytest.fixture(scope="module")
def template(tiny_f16: Path) -> str:
    """The template that the file has."""
    return str(Fields.of(tiny_f16).get("tokenizer.chat_template"))


@pytest.fixture(scope="module")
def tokenizer(tiny_base: Path) -> Any:
    return load_tokenizer(tiny_base)


def test_file_has_the_template_of_the_base(template: str, tokenizer: Any) -> None:
    assert template == tokenizer.chat_template


@pytest.mark.parametrize("answers", [True, False])
def test_llama_cpp_writes_what_transformers_writes(
    answers: bool, template: str, tokenizer: Any
) -> None:
    for talk in TALKS:
        found = by_llama_cpp(template, talk, answers=answers)
        assert found == expected(tokenizer, talk, answers=answers)


@pytest.mark.parametrize("answers", [True, False])
def test_its_python_binding_writes_what_transformers_writes(
    answers: bool, template: str, tokenizer: Any
) -> None:
    formatter = Jinja2ChatFormatter(
        template=template,
        eos_token=tokenizer.eos_token,
        bos_token=tokenizer.bos_token,
        add_generation_prompt=answers,
    )
    for talk in TALKS:
        assert formatter(messages=talk).prompt == expected(tokenizer, talk, answers=answers)


def test_tokens_are_the_same_too(tiny_f16: Path, template: str, tokenizer: Any) -> None:
    """The rendered text, cut by llama.cpp with special tokens as such."""
    model = llama_cpp.Llama(str(tiny_f16), vocab_only=True, verbose=False)
    for talk in TALKS:
        text = by_llama_cpp(template, talk, answers=True)
        ids = tokenizer.apply_chat_template(talk, add_generation_prompt=True, return_dict=False)
        assert model.tokenize(text.encode(), add_bos=True, special=True) == ids
