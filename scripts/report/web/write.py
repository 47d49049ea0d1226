"""report.html, rendered from its template, style sheet and script into one file."""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from scripts.backends.face import faces
from scripts.report import prose
from scripts.report.advice import by_runtime, headline, warnings
from scripts.report.changes import TITLE, change_sentence, change_table
from scripts.report.facts import Facts
from scripts.report.failures import (
    BROKEN,
    BROKEN_TITLE,
    MISSING_TITLE,
    broken_table,
    missing_table,
)
from scripts.report.flips import FLIPS, FLIPS_TITLE, flip_table, has_flips
from scripts.report.history import History
from scripts.report.lineup import Lineup, code
from scripts.report.method import model_sentences, quality_sentences, timing_sentences
from scripts.report.samples import DOLLAR
from scripts.report.sensitivity import (
    SENSITIVITY_TITLE,
    has_sensitivity,
    sensitivity_sentence,
)
from scripts.report.snippets import recipe_line, snippet
from scripts.report.tables import (
    Table,
    detail_table,
    has_tasks,
    pick_table,
    task_table,
    verdict_table,
)
from scripts.report.web import view
from scripts.report.web.figures import figures

_HOME = Path(__file__).parent


def write_html(facts: Facts, lineup: Lineup, history: History) -> str:
    """The whole page; the same evaluations give the same bytes."""
    first = headline(lineup)
    rendered = (
        _environment()
        .get_template("page.html.jinja")
        .render(
            facts=facts,
            prose=prose,
            style=Markup((_HOME / "style.css").read_text() + backend_colours()),
            script=Markup((_HOME / "page.js").read_text()),
            headline=first,
            headline_facts=view.facts(lineup, first.name),
            cards=view.cards(lineup),
            by_runtime=pick_table("you deploy with", by_runtime(lineup)),
            warnings=warnings(lineup),
            small_model=prose.small_model_sentence(lineup.base),
            runtime_effect=prose.runtime_effect(lineup),
            charts=figures(lineup),
            frontier=view.frontier_words(lineup),
            verdicts=verdict_table(),
            changes_title=TITLE,
            change_sentence=change_sentence(history),
            changes=change_table(history),
            comparison=view.comparison(lineup),
            stored=view.stored(lineup),
            failures=_failures(lineup),
            sensitivity=(SENSITIVITY_TITLE, sensitivity_sentence(lineup))
            if has_sensitivity(lineup)
            else None,
            tasks=task_table(lineup) if has_tasks(lineup) else None,
            flips=(FLIPS_TITLE, FLIPS, flip_table(lineup)) if has_flips(lineup) else None,
            notes=[f"{code(row.artifact)}: {note}" for row in lineup.rows for note in row.notes],
            samples=view.samples(lineup),
            loading=_loading(facts, lineup),
            measured=(
                model_sentences(facts, lineup),
                quality_sentences(facts, lineup),
                timing_sentences(lineup),
            ),
            details=detail_table(lineup),
        )
    )
    return rendered.rstrip() + "\n"


def backend_colours() -> str:
    """The variables that charts take the backends' colours from."""
    lines = (
        f"  --{name}: light-dark({face.colour[0]}, {face.colour[1]});\n"
        for name, face in faces().items()
    )
    return f":root {{\n{''.join(lines)}}}\n"


def _failures(lineup: Lineup) -> list[tuple[str, str, Table]]:
    """Title, sentence and table of what failed, for the top of the page."""
    found = []
    if lineup.breaks:
        found.append((BROKEN_TITLE, BROKEN, broken_table(lineup)))
    if lineup.missing:
        found.append((MISSING_TITLE, "", missing_table(lineup)))
    return found


def _loading(facts: Facts, lineup: Lineup) -> list[dict[str, object]]:
    """For each runtime that has artefacts: which, what to install, the code, a remark.

    Unlike the Markdown report, the page lies beside the artefacts.
    """
    found = []
    for backend, face in faces().items():
        own = [row for row in lineup.offered if row.backend == backend]
        lines = (
            (code(row.artifact), row.label, code(recipe_line(facts.artifacts[row.artifact])))
            for row in own
        )
        if own:
            found.append(
                {
                    "face": face,
                    "table": Table(("artefact", "is", "in the recipe"), tuple(lines)),
                    "code": snippet(face, [row.artifact for row in own]),
                }
            )
    return found


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HOME),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["markdown"] = markdown
    return environment


def markdown(text: str) -> Markup:
    """A sentence of the Markdown report as HTML; tags in it stay text."""
    text = text.replace(DOLLAR, "$")  # no formulas here
    return Markup(MarkdownIt("commonmark", {"html": False}).renderInline(text))
