"""Where artefacts disagree with FP16 the most: the text before, FP16's token, the artefact's."""

from scripts.evaluation.result import Flip
from scripts.report.lineup import Lineup
from scripts.report.numbers import divergence, whole_percent
from scripts.report.parts import Paragraph, Section, Table
from scripts.report.samples import escaped

_FLIPS = """\
For each artefact, the places of the evaluation's text where its most likely next token is not \
FP16's and the divergence is largest, with the probability that each gives its own token. Names \
and numbers that flip are worth more worry than synonyms."""
_SHOWN = 3
_SPACE, _NEWLINE = "␣", "⏎"


def flips(lineup: Lineup) -> list[Section]:
    """The worst few of each artefact; no section where none disagrees anywhere."""
    rows = tuple(
        (lineup.name(row) if place == 0 else "", *_cells(flip))
        for row in lineup.artifacts
        for place, flip in enumerate(row.flips[:_SHOWN])
    )
    header = ("artefact", "after the text", "FP16 says", "it says", "KLD")
    table = Table("The worst places of each artefact", header, rows, frozenset({"KLD"}))
    parts = (Paragraph(_FLIPS), table)
    return [Section("Where they disagree most", parts, "Disagreements")] if rows else []


def visible(token: str) -> str:
    """A token with its leading space and its line breaks made visible."""
    shown = token.replace("\n", _NEWLINE)
    return escaped(_SPACE + shown[1:] if shown.startswith(" ") else shown)


def _cells(flip: Flip) -> tuple[str, str, str, str]:
    context = " ".join(flip.context.split())
    return (
        f"… {escaped(context)}",
        f"{visible(flip.expected)} ({whole_percent(flip.expected_p)})",
        f"{visible(flip.got)} ({whole_percent(flip.got_p)})",
        divergence(flip.kld),
    )
