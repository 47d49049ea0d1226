"""report.html, rendered from its template, style sheet and script into one file."""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from scripts.report import prose
from scripts.report.advice import RUNTIME_NAMES, by_runtime, headline, warnings
from scripts.report.changes import TITLE, change_sentence, change_table
from scripts.report.failures import (
    BROKEN,
    BROKEN_TITLE,
    FAILED_TITLE,
    broken_table,
    failed_table,
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
from scripts.report.snippets import LOADING, recipe_line, snippet
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
from scripts.report.write_report import Report

_HOME = Path(__file__).parent


def write_html(report: Report, lineup: Lineup, history: History) -> str:
    """The whole page; the same evaluations give the same bytes."""
    first = headline(lineup)
    rendered = (
        _environment()
        .get_template("page.html.jinja")
        .render(
            report=report,
            prose=prose,
            style=Markup((_HOME / "style.css").read_text()),
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
            loading=_loading(report, lineup),
            measured=(
                model_sentences(report, lineup),
                quality_sentences(report, lineup),
                timing_sentences(lineup),
            ),
            details=detail_table(lineup),
        )
    )
    return rendered.rstrip() + "\n"


def _failures(lineup: Lineup) -> list[tuple[str, str, Table]]:
    """Title, sentence and table of what failed, for the top of the page."""
    found = []
    if lineup.breaks:
        found.append((BROKEN_TITLE, BROKEN, broken_table(lineup)))
    if lineup.failed:
        found.append((FAILED_TITLE, "", failed_table(lineup)))
    return found


def _loading(report: Report, lineup: Lineup) -> list[dict[str, object]]:
    """For each runtime that has artefacts: which, what to install, the code, a remark.

    Unlike the Markdown report, the page lies beside the artefacts.
    """
    found = []
    for backend in RUNTIME_NAMES:
        own = [row for row in lineup.offered if row.backend == backend]
        lines = (
            (code(row.artifact), row.label, code(recipe_line(report.artifacts[row.artifact])))
            for row in own
        )
        if own:
            found.append(
                {
                    "how": LOADING[backend],
                    "table": Table(("artefact", "is", "in the recipe"), tuple(lines)),
                    "code": snippet(backend, [row.artifact for row in own]),
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
