"""What of a report decides whether a build has failed."""

from scripts.evaluation.budget import Break
from scripts.evaluation.result import Failed, Record

OUTCOME_NAME = "outcome.json"


class Verdict(Record):
    """Broken budgets, rows that could not be measured, and the artefacts not to be shipped."""

    breaks: list[Break]
    failed: list[Failed]
    rejected: list[str]
