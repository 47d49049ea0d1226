"""Model cards, ML-BOMs and statements of provenance, one of each for every artefact, and
Modelfiles."""

from collections.abc import Mapping
from pathlib import Path

from scripts.backends.face import face_modules, face_of
from scripts.cards.subject import Subject
from scripts.stage import Stage

README, BOM, STATEMENT = "README.md", "bom.cdx.json", "provenance.intoto.json"
MODELFILE = "Modelfile"


class Cards(Stage):
    """Write model cards, bills of materials and provenance of the artefacts

    Inputs: `base`, `evaluation/NAME` for each row, `timings`, and `origin/NAME` for each artefact.
    `out` mirrors the folder of the artefacts: `NAME/README.md` and so on inside one that is a
    folder, `NAME.README.md` beside a file. Artefacts that may not be shipped or were not measured
    get none. What Ollama loads gets a Modelfile.
    """

    subject: Subject

    def reaches(self) -> tuple[str, ...]:
        """The faces of the backends."""
        return face_modules()

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """The same evaluations give the same bytes. Raises QuantmakeError for broken records."""
        from scripts.cards.bom import write_bom
        from scripts.cards.card import write_card
        from scripts.cards.modelfile import write_modelfile
        from scripts.cards.provenance import write_statement
        from scripts.cards.subject import read_origin
        from scripts.report.join import judge, read_lineup

        subject = self.subject
        lineup = read_lineup(inputs, subject)
        rejected = judge(lineup, subject.budgets).rejected
        for row in lineup.artifacts:
            if row.artifact in rejected:
                continue
            origin = read_origin(inputs[f"origin/{row.artifact}"])
            texts = {
                README: write_card(subject, lineup, row, origin),
                BOM: write_bom(subject, row, origin),
                STATEMENT: write_statement(subject, row, origin),
            }
            if face_of(row.backend).ollama and row.embedded is None:
                name, title = Path(row.artifact).name, f"{subject.model}, {row.label}"
                texts[MODELFILE] = write_modelfile(inputs["base"], name, title)
            joint = "/" if origin.kind == "folder" else "."
            for name, text in texts.items():
                place = out / f"{row.artifact}{joint}{name}"
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text, encoding="utf-8")
