"""The gate: what broke its budget or could not be measured, and what may not be shipped."""

from io import StringIO
from pathlib import Path

from scripts.report.failures import BUDGET_COLUMNS, budget_rows
from scripts.report.judgement import JUDGEMENT_NAME, Judgement

_WIDTH = 78


class Gate:
    """Reads the judgement that the report in the folder `report` was written with.

    Artefacts lie below `out`; those that broke their budget, or have one and could not be
    measured, are rejected.
    """

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
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(BUDGET_COLUMNS):
        table.add_column(column, justify="left" if place < 2 else "right")
    for cells in budget_rows(judgement.breaks):
        table.add_row(*cells)
    text = StringIO()
    Console(file=text, width=_WIDTH, no_color=True).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines() if line.strip())
