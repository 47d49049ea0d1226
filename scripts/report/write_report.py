"""QUANTISATION-REPORT.md, its charts and report.html, from the stored evaluations."""

from collections.abc import Mapping
from pathlib import Path

from scripts.backends.face import face_modules
from scripts.errors import QuantmakeError
from scripts.report.facts import Facts
from scripts.report.history import FIGURES, History, history
from scripts.report.judgement import JUDGEMENT_NAME
from scripts.stage import Stage

NAME = "QUANTISATION-REPORT.md"
HTML_NAME = "report.html"


class WriteReport(Stage):
    """Write the report, as Markdown and as a page, and its charts from the stored evaluations

    Inputs: `evaluation/NAME`, one for each baseline and each artefact, `timings`, and
    `sensitivity` where it was measured. `committed` holds the figures of the last committed
    report, where there is one.
    """

    facts: Facts
    committed: History | None = None
    packages = ("jinja2", "markdown-it-py", "matplotlib", "mdutils")

    def reaches(self) -> tuple[str, ...]:
        """The faces of the backends."""
        return face_modules()

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """The same evaluations give the same bytes. Raises QuantmakeError for what is no
        evaluation, or one with other prompts than the base's."""
        from scripts.report.gallery import draw_all
        from scripts.report.join import judge, read_lineup
        from scripts.report.page import write_page
        from scripts.report.web.write import write_html

        lineup = read_lineup(inputs, self.facts)
        kept = history(lineup, self.committed)
        (out / NAME).write_text(write_page(self.facts, lineup, kept), encoding="utf-8")
        (out / "charts").mkdir()
        draw_all(lineup, out / "charts")
        (out / "charts" / FIGURES).write_text(kept.model_dump_json(indent=1) + "\n")
        (out / HTML_NAME).write_text(write_html(self.facts, lineup, kept), encoding="utf-8")
        judgement = judge(lineup, self.facts.budgets)
        (out / JUDGEMENT_NAME).write_text(judgement.model_dump_json(indent=1) + "\n")

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Every chart that the page shows is there."""
        from scripts.report.gallery import CHARTS

        page = (out / NAME).read_text()
        shown = [name for name in CHARTS if f"charts/{name}" in page]
        missing = [name for name in shown if not (out / "charts" / name).is_file()]
        if missing:
            raise QuantmakeError(f"the report lacks the charts {', '.join(missing)}")
