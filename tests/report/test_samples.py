"""Where a completion leaves the base's, and that its text stays text."""

import pytest
from markdown_it import MarkdownIt
from mdutils.mdutils import MdUtils

from scripts.evaluation.result import Sample
from scripts.report.parts import Answers
from scripts.report.samples import completion, departure, escaped, marked, samples
from tests.report.factory import evaluation, lineup

BASE = "The capital of France is Paris. It is old."


@pytest.mark.parametrize(
    ("other", "text", "same"),
    [
        (BASE, BASE, "all"),
        ("The capital of Spain is", "The capital of **Spain is**", "3 words"),
        ("The capital of Frankia", "The capital of **Frankia**", "3 words"),
        ("The capital of France", "The capital of France **(ends here)**", "4 words"),
        ("The cap", "The **cap**", "1 word"),
        (f"{BASE} Very old.", f"{BASE} **Very old.**", "9 words"),
        ("Lyon", "**Lyon**", "0 words"),
        ("The\n\nend\nof it", "The<br>**end**<br>**of it**", "1 word"),
        (" ", "*(nothing)*", "0 words"),
    ],
)
def test_bold_from_the_first_other_word(other: str, text: str, same: str) -> None:
    answer = completion("x", BASE, other)
    assert (marked(answer), answer.same) == (text, same)


def test_departure_of_texts_without_spaces() -> None:
    assert departure("巴黎是首都", "巴黎很大") == 0


NASTY = [
    "a | b || c",
    "back\\slash \\| pipe",
    "**bold** _it_ `code` ~~no~~",
    "<b>tag</b> & &lt; <!-- x -->",
    "[link](http://x) ![image](y)",
    "# no heading",
    "1 * 2 * 3",
    "\ttab\r\nnew | line",
]


@pytest.mark.parametrize("text", NASTY)
def test_markup_in_a_completion_stays_text(text: str) -> None:
    """GitHub's tables, as markdown-it reads them, show the very text."""
    page = MdUtils(file_name="")
    page.new_table(2, 2, ["a", "b", "x", marked(completion("x", "", text))], "left")
    tokens = MarkdownIt("commonmark").enable(["table"]).parse(page.get_md_text())
    cells = [token for token in tokens if token.type == "inline"]
    assert len(cells) == 4
    shown = "".join(
        " " if child.content == "<br>" else child.content for child in cells[-1].children or []
    )
    assert shown.split() == text.split()


def test_dollars_make_no_formula() -> None:
    assert escaped("$5 or $6") == "<span>$</span>5 or <span>$</span>6"


def test_each_row_is_compared_with_the_base() -> None:
    other = tuple(
        Sample(prompt=sample.prompt, completion="Paris, says nobody.")
        for sample in evaluation("x").samples
    )
    _, _, answers, _ = samples(lineup(evaluation("x", samples=other))).parts
    assert isinstance(answers, Answers)
    base, *_, last = answers.completions
    assert (base.name, base.kept, base.changed) == ("*Label of base*", "Paris, says base.", "")
    assert (last.name, last.same, marked(last)) == ("`x`", "2 words", "Paris, says **nobody.**")
