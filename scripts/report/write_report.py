"""QUANTISATION-REPORT.md, its charts and report.html, from the stored evaluations."""

import re
from collections.abc import Mapping
from pathlib import Path

from scripts.backends.face import face_modules
from scripts.errors import QuantmakeError
from scripts.evaluation.budget import JUDGEMENT_NAME
from scripts.report.facts import Facts
from scripts.report.history import FIGURES, History, history
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

    def reaches(self) -> tuple[str, ...]:
        """The faces of the backends."""
        return face_modules()

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """The same evaluations give the same bytes. Raises QuantmakeError for what is no
        evaluation, or one with other prompts than the base's."""
        from scripts.report.gallery import draw_all, shown_in
        from scripts.report.html_page import write_html
        from scripts.report.join import judge, read_lineup
        from scripts.report.markdown import write_markdown
        from scripts.report.sections import sections

        lineup = read_lineup(inputs, self.facts)
        kept = history(lineup, self.committed)
        # The Markdown lies beside the folder of the artefacts, the page in it.
        above = sections(self.facts, lineup, kept, f"{self.facts.folder}/")
        within = sections(self.facts, lineup, kept, "")
        (out / NAME).write_text(write_markdown(self.facts, above), encoding="utf-8")
        (out / HTML_NAME).write_text(write_html(self.facts, lineup, within), encoding="utf-8")
        (out / "charts").mkdir()
        draw_all(lineup, shown_in(above), out / "charts")
        (out / "charts" / FIGURES).write_text(kept.model_dump_json(indent=1) + "\n")
        judgement = judge(lineup, self.facts.budgets)
        (out / JUDGEMENT_NAME).write_text(judgement.model_dump_json(indent=1) + "\n")

    def without(self, missing: Mapping[str, str]) -> Stage | None:
        """The layers' sensitivity may be missing."""
        return self if set(missing) == {"sensitivity"} else None

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Every chart that the page shows is there."""
        shown = re.findall(r"\((charts/[^)]+)\)", (out / NAME).read_text())
        missing = [name for name in shown if not (out / name).is_file()]
        if missing:
            raise QuantmakeError(f"the report lacks {', '.join(missing)}")
