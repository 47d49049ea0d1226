"""Every word of every label is explained."""

import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from scripts.backends.face import faces
from scripts.backends.format import Format, all_formats
from scripts.report.glossary import NUMBERS, glossary
from scripts.report.parts import Explanations
from tests.report.factory import facts_of, usual

_PLAIN = {"size", "bytes"}


def _words(text: str) -> set[str]:
    """The words of a text, bare figures aside."""
    return {word for word in re.findall(r"\w+", text) if not word.isdecimal() and word != "s"}


def _variants(kind: type[Format]) -> Iterator[Format]:
    """The format with each value that each of its options may have, where these are a few."""
    changes: list[dict[str, Any]] = [{}, {"tune": {}}, {"weight_only": "auto", "max_kld": 0.01}]
    for name, field in kind.model_fields.items():
        values = {*get_args(field.annotation), True}
        changes += [{name: value} for value in values if isinstance(value, str | bool)]
    for selection in kind.selections():
        for change in changes:
            for other in ({}, {"type": "q4_0"}, {"type": "auto", "like": "q4_0"}):
                try:
                    yield kind.model_validate({**selection, **other, **change})
                except ValidationError:
                    continue


@pytest.mark.parametrize("kind", all_formats(), ids=lambda kind: kind.__name__)
def test_each_word_of_a_label_has_its_entry(kind: type[Format]) -> None:
    general = [term for face in faces().values() for term, _ in face.terms]
    known = _PLAIN.union(*map(_words, [*general, *NUMBERS]))
    for one in _variants(kind):
        unknown = _words(one.label()) - known - _words(" ".join(one.words()))
        assert not unknown, one.label()
        assert all(text.endswith(".") for text in one.words().values())


def test_what_is_done_beside_the_method_is_explained_too() -> None:
    words = set().union(*(one.words() for kind in all_formats() for one in _variants(kind)))
    assert {
        "AWQ", "GPTQ", "HQQ", "RTN", "SmoothQuant", "NF4", "Q4_K_M", "auto", "dynamic", "imatrix",
        "mixed precision", "static", "tuned",
    } <= words  # fmt: skip


def test_glossary_holds_the_words_of_the_recipe_and_the_formats_that_are_used() -> None:
    rows = usual()
    parts = glossary(facts_of(rows, terms={"shrunk": "Made smaller."}), rows).parts
    terms = {
        term: text for one in parts if isinstance(one, Explanations) for term, text in one.terms
    }
    assert terms["shrunk"] == "Made smaller."
    assert {"ONNX", "GGUF", "bitsandbytes", "weight-only"} <= set(terms)
