"""Where artefacts disagree with FP16 the most: the text before, FP16's token, the artefact's."""

from scripts.evaluation.result import Flip
from scripts.report.lineup import Lineup
from scripts.report.numbers import divergence, percent
from scripts.report.samples import escaped
from scripts.report.tables import Table

FLIPS_TITLE = "Where they disagree most"
FLIPS = """\
For each artefact, the places of the evaluation's text where its most likely next token is not \
FP16's and the divergence is greatest, with the probability that each gives its own token. Names \
and numbers that flip are worth more worry than synonyms."""
_SHOWN = 3
_SPACE, _NEWLINE = "␣", "⏎"


def has_flips(lineup: Lineup) -> bool:
    """Whether any artefact disagrees anywhere."""
    return any(row.flips for row in lineup.artifacts)


def visible(token: str) -> str:
    """A token with its leading space and its line breaks made visible."""
    shown = token.replace("\n", _NEWLINE)
    return escaped(_SPACE + shown[1:] if shown.startswith(" ") else shown)


def flip_table(lineup: Lineup) -> Table:
    """The worst few of each artefact."""
    rows = tuple(
        (lineup.name(row) if place == 0 else "", *_cells(flip))
        for row in lineup.artifacts
        for place, flip in enumerate(row.flips[:_SHOWN])
    )
    header = ("artefact", "after the text", "FP16 says", "it says", "KLD")
    return Table(header, rows, frozenset({"KLD"}))


def _cells(flip: Flip) -> tuple[str, str, str, str]:
    context = " ".join(flip.context.split())
    return (
        f"… {escaped(context)}",
        f"{visible(flip.expected)} ({percent(flip.expected_p, 0)})",
        f"{visible(flip.got)} ({percent(flip.got_p, 0)})",
        divergence(flip.kld),
    )
