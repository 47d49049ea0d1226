"""report.html without a browser: one file, the same figures, markup that stays text."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from scripts.backends.face import faces
from scripts.evaluation.result import Sample
from scripts.report.advice import picks, warnings
from scripts.report.history import history
from scripts.report.html_page import markdown, write_html
from scripts.report.lineup import Lineup
from scripts.report.parts import Answers
from scripts.report.samples import samples
from scripts.report.sections import sections
from tests.report.factory import PROMPTS, evaluation, facts_of, lineup, usual

_VOID = {"meta", "br", "use", "path", "link", "img"}


class Reader(HTMLParser):
    """Collects tags, ids and links, and complains of tags that are not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src"):
                self.links.add(value or "")
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag


def _page(rows: Lineup, **changes: object) -> str:
    facts = facts_of(rows, **changes)
    return write_html(facts, rows, sections(facts, rows, history(rows, None), ""))


@pytest.fixture(scope="module")
def page() -> str:
    """The page of the usual line-up."""
    return _page(usual())


def test_it_is_well_formed_and_needs_nothing_else(page: str) -> None:
    reader = Reader(page)
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))
    assert reader.links
    assert {link.removeprefix("#") for link in reader.links} <= set(reader.ids)
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert "https://" not in page
    assert "@import" not in page


def test_what_labels_refer_to_is_there(page: str) -> None:
    reader = Reader(page)
    named = {value for name, value in reader.attributes if name == "aria-labelledby"}
    assert named <= set(reader.ids)


def test_charts_follow_the_theme(page: str) -> None:
    drawings = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawings) == 8
    for drawing in drawings:
        assert not re.findall(r"#[0-9a-f]{6}\b", drawing)
        assert "var(--ink)" in drawing
        assert "<text" in drawing
        assert "model-q4_k_m.gguf" in drawing or "embedding" in drawing


def test_advice_and_warnings_say_what_the_markdown_report_says(page: str) -> None:
    for pick in picks(usual()):
        assert str(markdown(pick.reason)) in page
    for warning in warnings(usual()):
        assert str(markdown(warning)) in page


@pytest.mark.usefixtures("plain_charts")
def test_profiles_that_nothing_fits_say_so() -> None:
    page = _page(lineup(evaluation("wreck", kld=3)))
    assert page.count('<p class="name">none</p>') == 2
    assert "no artefact is near enough to FP16" in page


@pytest.mark.usefixtures("plain_charts")
def test_names_and_completions_stay_text() -> None:
    nasty = "</script><script>alert(1)</script> & <b>bold</b>"
    told = tuple(Sample(prompt=prompt, completion=nasty) for prompt in PROMPTS)
    page = _page(lineup(evaluation("a", samples=told)), model="<i>Tiny</i>")
    assert page.count("<script>") == 1
    assert "<b>bold</b>" not in page
    assert "<title>Quantisation report: &lt;i&gt;Tiny&lt;/i&gt;</title>" in page
    assert "&lt;/script&gt;&lt;script&gt;alert(1)" in page


def test_samples_show_where_they_depart_and_who_agrees() -> None:
    base = Sample(prompt="Say!", completion="one two three")
    texts = {"same": "one two three", "other": "one four", "short": "one two", "silent": " "}
    rows = Lineup(
        (evaluation("base", "pytorch", samples=(base,)),),
        tuple(
            evaluation(name, samples=(Sample(prompt="Say!", completion=text),))
            for name, text in texts.items()
        ),
    )
    _, answers = samples(rows).parts
    assert isinstance(answers, Answers)
    _, same, *others = answers.completions
    assert (same.name, same.same) == ("`same`", "all")
    parts = [(one.name, one.kept, one.changed, one.ends_early) for one in others]
    assert parts == [
        ("`other`", "one ", "four", False),
        ("`short`", "one two", "", True),
        ("`silent`", "", "", False),
    ]
    page = _page(rows)
    assert "one <mark>four</mark>" in page
    assert "one two <mark>(ends here)</mark>" in page
    assert "<em>(nothing)</em>" in page


def test_paths_are_those_beside_the_page(page: str) -> None:
    assert "path = &#34;model-int8&#34;" in page
    assert "quantized/model" not in page


def test_it_tells_no_folder_of_this_machine(page: str) -> None:
    assert str(Path.cwd()) not in page


def test_colours_of_the_backends_are_those_of_their_faces(page: str) -> None:
    for name, face in faces().items():
        assert f"--{name}: light-dark({face.colour[0]}, {face.colour[1]});" in page
    for name in ("bitsandbytes", "gguf", "onnx"):  # which the page has rows of
        assert f"var(--{name})" in page
