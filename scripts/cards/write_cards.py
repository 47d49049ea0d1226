"""Model cards, ML-BOMs and statements of provenance, one of each for every artefact."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, JsonValue

from scripts.cards.subject import CardFacts
from scripts.evaluation.budget import Budget
from scripts.stage import Stage

README, BOM, STATEMENT = "README.md", "bom.cdx.json", "provenance.intoto.json"


class Cards(Stage):
    """Write model cards, bills of materials and provenance of the artefacts

    Inputs: `evaluation/NAME` for each row, `timings`, and `origin/NAME` for each artefact. `out`
    mirrors the folder of the artefacts: `NAME/README.md` and so on inside one that is a folder,
    `NAME.README.md` beside a file. Artefacts that may not be shipped or were not measured get none.
    """

    model: str
    source: str
    recipe: str
    card: CardFacts
    baselines: tuple[str, ...]
    artifacts: dict[str, dict[str, JsonValue]]
    budgets: dict[str, Budget] = Field(default_factory=dict)
    packages = ("cyclonedx-python-lib", "huggingface-hub", "in-toto-attestation")

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """The same evaluations give the same bytes. Raises QuantmakeError for broken records."""
        from scripts.cards.bom import write_bom
        from scripts.cards.card import write_card
        from scripts.cards.origin import read_origin
        from scripts.cards.provenance import write_statement
        from scripts.cards.subject import Subject
        from scripts.report.join import read_lineup, verdict_of

        lineup = read_lineup(inputs, self.baselines, tuple(self.artifacts), self.budgets)
        rejected = verdict_of(lineup, self.budgets).rejected
        chosen = self.model_dump(include={"model", "source", "recipe", "card", "artifacts"})
        subject = Subject.model_validate(chosen)
        for row in lineup.artifacts:
            if row.artifact in rejected:
                continue
            origin = read_origin(inputs[f"origin/{row.artifact}"])
            texts = {
                README: write_card(subject, lineup, row, origin),
                BOM: write_bom(subject, row, origin),
                STATEMENT: write_statement(subject, row, origin),
            }
            joint = "/" if origin.kind == "folder" else "."
            for name, text in texts.items():
                place = out / f"{row.artifact}{joint}{name}"
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text, encoding="utf-8")
