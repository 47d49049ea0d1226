"""The tables of docs/recipe.md are those that the records give, and say all there is."""

import re

import pytest

from scripts.backends.format import Format, all_formats
from scripts.backends.onnx.formats.rtn import OnnxRtn
from scripts.recipe.options import PATH, SECTIONS, _family, options_of, page_text
from scripts.sources.schemes import SPELLINGS

TEXT = PATH.read_text(encoding="utf-8")


def test_tables_are_current() -> None:
    assert page_text() == TEXT, "run: python -m scripts.recipe.options"


def test_every_table_is_on_the_page() -> None:
    assert set(re.findall(r"<!-- generated: (\w+) -->", TEXT)) == {
        *SECTIONS,
        "formats",
        "encoder_formats",
    }


def test_every_kind_of_source_is_on_the_page() -> None:
    assert [scheme for scheme in SPELLINGS if f"| `{scheme}:" not in TEXT] == []


@pytest.mark.parametrize("name", SECTIONS)
def test_every_key_of_a_section_is_explained(name: str) -> None:
    assert [one.name for one in options_of(SECTIONS[name]) if not one.meaning] == []


@pytest.mark.parametrize(
    "kind", [*all_formats(), *all_formats("encoder")], ids=lambda kind: kind.__name__
)
def test_every_option_of_a_format_is_explained(kind: type[Format]) -> None:
    options = [one for one in options_of(kind) if one.name not in kind.selector()]
    assert [one.name for one in options if not one.meaning] == []


def test_bounds_defaults_and_choices_are_told() -> None:
    budget = {one.name: one for one in options_of(SECTIONS["budgets"])}
    assert budget["min_top1"].allowed == "number > 0, ≤ 1"
    assert budget["max_bytes"].allowed == "a size, as 98MB"
    text = {one.name: one for one in options_of(SECTIONS["evaluation"])}
    assert (text["text"].default, text["context"].default) == ("required", "`512`")


def test_an_only_class_of_a_format_names_what_selects_it() -> None:
    page = _family([OnnxRtn])
    assert re.search(r"\| `bits: [\w ]+, method: rtn` \|", page), page
