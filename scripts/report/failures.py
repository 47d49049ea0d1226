"""What stands at the top of a report of a failed build."""

from collections.abc import Iterable, Iterator

from scripts.evaluation.budget import Break
from scripts.report.lineup import Lineup, code
from scripts.report.measures import of_budget
from scripts.report.numbers import percent
from scripts.report.parts import Paragraph, Section, Table
from scripts.report.samples import escaped

BUDGET_COLUMNS = ("artefact", "budget", "limit", "is", "off by")
_BROKEN = """\
These artefacts do not keep what the recipe asks of them under `budgets`. They are not shipped: \
the build set them aside in `.rejected`, and they are not among the recommendations below."""


def budget_rows(breaks: Iterable[Break]) -> Iterator[tuple[str, str, str, str, str]]:
    """A line for each broken budget, by BUDGET_COLUMNS."""
    for one in breaks:
        amount = of_budget(one.budget).amount
        yield one.artifact, one.budget, amount(one.limit), amount(one.value), percent(one.by)


def failures(lineup: Lineup) -> list[Section]:
    """Broken budgets, then rows that could not be measured."""
    sections = []
    if lineup.breaks:
        rows = (
            (code(name), code(budget), *rest) for name, budget, *rest in budget_rows(lineup.breaks)
        )
        figures = frozenset(BUDGET_COLUMNS[2:])
        table = Table("Broken budgets", BUDGET_COLUMNS, tuple(rows), figures)
        sections.append(Section("Broken budgets", (Paragraph(_BROKEN), table), failed=True))
    if lineup.missing:
        lines = (
            (code(one.artifact), one.label, escaped(" ".join(one.reason.split())))
            for one in lineup.missing
        )
        header = ("artefact", "is", "could not be measured, because")
        missing = Table("Not measured", header, tuple(lines))
        sections.append(Section("Not measured", (missing,), failed=True))
    return sections
