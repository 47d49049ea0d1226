"""report.html, rendered from its template, style sheet and script into one file."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from scripts.backends.face import faces
from scripts.report import web
from scripts.report.facts import Facts
from scripts.report.gallery import figures, shown_in
from scripts.report.lineup import Lineup
from scripts.report.parts import Section, anchor
from scripts.report.samples import DOLLAR

_HOME = Path(str(web.__file__)).parent


def write_html(facts: Facts, lineup: Lineup, sections: Sequence[Section]) -> str:
    """The whole page; the same evaluations give the same bytes."""
    environment = Environment(
        loader=FileSystemLoader(_HOME),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"anchor": anchor, "markdown": markdown}
    rendered = environment.get_template("page.html.jinja").render(
        facts=facts,
        sections=sections,
        charts=figures(lineup, shown_in(sections)),
        style=Markup((_HOME / "style.css").read_text() + _colours()),
        script=Markup((_HOME / "page.js").read_text()),
    )
    return rendered.rstrip() + "\n"


def _colours() -> str:
    """The variables that charts take the backends' colours from."""
    lines = (
        f"  --{name}: light-dark({face.colour[0]}, {face.colour[1]});\n"
        for name, face in faces().items()
    )
    return f":root {{\n{''.join(lines)}}}\n"


def markdown(text: str) -> Markup:
    """A sentence of the Markdown report as HTML; tags in it stay text."""
    text = text.replace(DOLLAR, "$")  # no formulas here
    return Markup(MarkdownIt("commonmark", {"html": False}).renderInline(text))
