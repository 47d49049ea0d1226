"""QUANTISATION-REPORT.md, its charts and report.html, from the stored evaluations."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from scripts.errors import QuantmakeError
from scripts.evaluation.budget import Budget
from scripts.report.history import FIGURES, History, history
from scripts.report.verdict import OUTCOME_NAME
from scripts.stage import Stage

NAME = "QUANTISATION-REPORT.md"
HTML_NAME = "report.html"


class Yardstick(BaseModel):
    """The text that everything was measured on: lines `[first, end)`, `windows` of `context`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    lines: tuple[int, int]
    windows: int
    context: int


class Report(Stage):
    """Write the report, as Markdown and as a page, and its charts from the stored evaluations

    Inputs: `evaluation/NAME`, one for each baseline and each artefact, `timings`, and
    `sensitivity` where it was measured. `baselines` starts with the FP16 base. `artifacts` holds
    the recipe's lines, defaults filled in, by the artefact's path below `folder`; `budgets` their
    limits. `off_grid` is the seed of the base's rescaling, None where there was none. `committed`
    holds the figures of the last committed report, where there is one.
    """

    model: str
    source: str
    recipe: str
    folder: str
    off_grid: int | None
    baselines: tuple[str, ...]
    artifacts: dict[str, dict[str, JsonValue]]
    yardstick: Yardstick | None = None
    committed: History | None = None
    budgets: dict[str, Budget] = Field(default_factory=dict)
    packages = ("jinja2", "markdown-it-py", "matplotlib", "mdutils")

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """The same evaluations give the same bytes. Raises QuantmakeError for what is no
        evaluation, or one with other prompts than the base's."""
        from scripts.report.gallery import draw_all
        from scripts.report.join import read_lineup, verdict_of
        from scripts.report.page import write_page
        from scripts.report.web.write import write_html

        lineup = read_lineup(inputs, self.baselines, tuple(self.artifacts), self.budgets)
        kept = history(lineup, self.committed)
        (out / NAME).write_text(write_page(self, lineup, kept), encoding="utf-8")
        (out / "charts").mkdir()
        draw_all(lineup, out / "charts")
        (out / "charts" / FIGURES).write_text(kept.model_dump_json(indent=1) + "\n")
        (out / HTML_NAME).write_text(write_html(self, lineup, kept), encoding="utf-8")
        verdict = verdict_of(lineup, self.budgets)
        (out / OUTCOME_NAME).write_text(verdict.model_dump_json(indent=1) + "\n")

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Every chart that the page shows is there."""
        from scripts.report.gallery import CHARTS

        page = (out / NAME).read_text()
        shown = [name for name in CHARTS if f"charts/{name}" in page]
        missing = [name for name in shown if not (out / "charts" / name).is_file()]
        if missing:
            raise QuantmakeError(f"the report lacks the charts {', '.join(missing)}")
