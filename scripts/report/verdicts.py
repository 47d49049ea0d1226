"""Words for the distance from FP16."""

from dataclasses import dataclass
from math import hypot, inf

from scripts.evaluation.result import Evaluation
from scripts.report.lineup import kld
from scripts.report.parts import Table


@dataclass(frozen=True)
class Verdict:
    """A word for a mean KL divergence below `limit` nats, and what it means for a user."""

    limit: float
    word: str
    meaning: str


VERDICTS = (
    Verdict(0.01, "indistinguishable in practice", "take it in place of FP16 without a thought"),
    Verdict(0.05, "close", "wording changes now and then, what is said hardly ever"),
    Verdict(0.2, "noticeable", "often other words; fine for chat and drafts, test it on your task"),
    Verdict(0.5, "poor", "clearly weaker than FP16; only where nothing else fits"),
    Verdict(inf, "broken", "no longer the same model; something went wrong in making it"),
)
USABLE = next(one.limit for one in VERDICTS if one.word == "noticeable")
"""The divergence, in nats, below which an artefact may be recommended."""


def rank(row: Evaluation) -> int:
    """The place of a row's verdict in VERDICTS; 0 is the best."""
    places = (place for place, one in enumerate(VERDICTS) if kld(row) < one.limit)
    return next(places, len(VERDICTS) - 1)


def verdict(row: Evaluation) -> str:
    """A word for the distance from the base."""
    return VERDICTS[rank(row)].word


def is_usable(row: Evaluation) -> bool:
    """Whether the artefact is near enough to the base to be recommended."""
    return kld(row) < USABLE


def is_clearly_closer(one: Evaluation, two: Evaluation) -> bool:
    """Whether `one` is closer to the base by more than the standard error of the difference."""
    error = hypot(one.quality.kld_mean.se, two.quality.kld_mean.se)
    return kld(two) - kld(one) > error


def verdict_table() -> Table:
    """The words for a divergence."""
    limits = [*(f"< {one.limit:g}" for one in VERDICTS[:-1]), f"≥ {VERDICTS[-2].limit:g}"]
    pairs = zip(limits, VERDICTS, strict=True)
    rows = tuple((limit, one.word, one.meaning) for limit, one in pairs)
    header = ("KLD", "in a word", "what it means")
    return Table("What the verdicts mean", header, rows, frozenset({"KLD"}))
