"""What of a report decides whether a build has failed."""

from scripts.evaluation.budget import Break
from scripts.strict import Strict

JUDGEMENT_NAME = "judgement.json"


class Missing(Strict):
    """A row that could not be measured, and why."""

    artifact: str
    label: str
    reason: str


class Judgement(Strict):
    """Broken budgets, rows that could not be measured, and the artefacts not to be shipped."""

    breaks: tuple[Break, ...] = ()
    missing: tuple[Missing, ...] = ()
    rejected: tuple[str, ...] = ()
