"""Words for the distance from FP16."""

from math import hypot

from scripts.evaluation.result import Evaluation
from scripts.report.lineup import distance
from scripts.report.parts import Table
from scripts.report.yardsticks import Yardstick, yardstick_of


def rank(row: Evaluation) -> int:
    """The place of a row's verdict among its yardstick's; 0 is the best."""
    verdicts = yardstick_of(row).verdicts
    places = (place for place, one in enumerate(verdicts) if distance(row) < one.limit)
    return next(places, len(verdicts) - 1)


def verdict(row: Evaluation) -> str:
    """A word for the distance from the base."""
    return yardstick_of(row).verdicts[rank(row)].word


def is_usable(row: Evaluation) -> bool:
    """Whether the artefact is near enough to the base to be recommended."""
    return distance(row) < yardstick_of(row).usable


def is_clearly_closer(one: Evaluation, two: Evaluation) -> bool:
    """Whether `one` is closer to the base by more than the standard error of the difference."""
    error = hypot(*(yardstick_of(row).distance(row).se for row in (one, two)))
    return distance(two) - distance(one) > error


def verdict_table(yardstick: Yardstick) -> Table:
    """The words for a distance."""
    near, far = ("<", "≥") if yardstick.column == "KLD" else (">", "≤")
    verdicts = yardstick.verdicts
    limits = [
        *(f"{near} {yardstick.limits(one.limit)}" for one in verdicts[:-1]),
        f"{far} {yardstick.limits(verdicts[-2].limit)}",
    ]
    rows = tuple(
        (limit, one.word, one.meaning) for limit, one in zip(limits, verdicts, strict=True)
    )
    header = (yardstick.column, "in a word", "what it means")
    return Table("What the verdicts mean", header, rows, frozenset({yardstick.column}))
