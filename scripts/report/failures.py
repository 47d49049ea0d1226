"""What stands at the top of a report of a failed build."""

from scripts.report.lineup import Lineup, code
from scripts.report.numbers import limit_text, percent
from scripts.report.samples import escaped
from scripts.report.tables import Table

BROKEN_TITLE = "Broken budgets"
BROKEN = """\
These artefacts do not keep what the recipe asks of them under `budgets`. They are not shipped: \
the build set them aside in `.rejected`, and they are not among the recommendations below."""
MISSING_TITLE = "Not measured"


def broken_table(lineup: Lineup) -> Table:
    """Each broken budget, and by how much."""
    rows = (
        (
            code(one.artifact),
            code(one.budget),
            limit_text(one.budget, one.limit),
            limit_text(one.budget, one.found),
            percent(one.by),
        )
        for one in lineup.breaks
    )
    header = ("artefact", "budget", "limit", "found", "off by")
    return Table(header, tuple(rows), frozenset(header[2:]))


def missing_table(lineup: Lineup) -> Table:
    """Each row that could not be measured, and why."""
    rows = (
        (code(one.artifact), one.label, escaped(" ".join(one.reason.split())))
        for one in lineup.missing
    )
    return Table(("artefact", "is", "could not be measured, because"), tuple(rows))
