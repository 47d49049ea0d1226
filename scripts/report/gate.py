"""What broke its budget or could not be measured: in the report, and at the end of a build."""

from collections.abc import Iterable, Iterator
from io import StringIO
from pathlib import Path

from scripts.evaluation.budget import JUDGEMENT_NAME, Break, Judgement
from scripts.report.lineup import Lineup, code
from scripts.report.measures import of_budget
from scripts.report.numbers import percent
from scripts.report.parts import Paragraph, Section, Table
from scripts.report.samples import escaped


class Gate:
    """Reads the judgement that the report in `report` was written with; artefacts lie in `out`."""

    def __init__(self, report: Path, out: Path) -> None:
        self.verdict, self._out = report, out

    def read(self) -> Judgement:
        """The judgement; an empty one where there is none yet."""
        try:
            return Judgement.model_validate_json((self.verdict / JUDGEMENT_NAME).read_bytes())
        except (OSError, ValueError):
            return Judgement()

    def rejected(self) -> set[Path]:
        """The artefacts that may not be shipped."""
        return {self._out / name for name in self.read().rejected}

    def complaint(self) -> str:
        """What broke by how much, and what could not be measured; empty where all is well."""
        judgement = self.read()
        parts = []
        if judgement.breaks:
            parts.append(f"budgets are broken:\n{_table(judgement)}")
        if judgement.missing:
            lines = (f"  {one.artifact}: {one.reason}" for one in judgement.missing)
            parts.append("\n".join(["these could not be measured:", *lines]))
        if judgement.rejected:
            names = ", ".join(judgement.rejected)
            parts.append(
                f"Not shipped, but kept in {self._out / '.rejected'}: {names}. Change the "
                "artefact's line or its budget in the recipe, and run doit again."
            )
        return "\n".join(parts)


def _table(judgement: Judgement) -> str:
    """The broken budgets, no wider than a terminal of 80 columns."""
    from rich import box
    from rich import table as rich_table
    from rich.console import Console

    table = rich_table.Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(_COLUMNS):
        table.add_column(column, justify="left" if place < 2 else "right")
    for cells in _rows(judgement.breaks):
        table.add_row(*cells)
    text = StringIO()
    Console(file=text, width=78, no_color=True).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines() if line.strip())


_COLUMNS = ("artefact", "budget", "limit", "is", "off by")
_BROKEN = """\
These artefacts do not keep what the recipe asks of them under `budgets`. They are not shipped: \
the build set them aside in `.rejected`, and they are not among the recommendations below."""


def _rows(breaks: Iterable[Break]) -> Iterator[tuple[str, str, str, str, str]]:
    """A line for each broken budget, by _COLUMNS."""
    for one in breaks:
        amount = of_budget(one.budget).amount
        yield one.artifact, one.budget, amount(one.limit), amount(one.value), percent(one.by)


def failures(lineup: Lineup) -> list[Section]:
    """Broken budgets, then rows that could not be measured."""
    sections = []
    if lineup.breaks:
        rows = tuple((code(one), code(two), *rest) for one, two, *rest in _rows(lineup.breaks))
        table = Table("Broken budgets", _COLUMNS, rows, frozenset(_COLUMNS[2:]))
        sections.append(Section("Broken budgets", (Paragraph(_BROKEN), table), failed=True))
    if lineup.missing:
        lines = tuple(
            (code(one.artifact), one.label, escaped(" ".join(one.reason.split())))
            for one in lineup.missing
        )
        header = ("artefact", "is", "could not be measured, because")
        table = Table("Not measured", header, lines)
        sections.append(Section("Not measured", (table,), failed=True))
    return sections
