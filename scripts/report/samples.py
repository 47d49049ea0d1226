"""What artefacts say: completions beside the base's, and where they disagree with it the most."""

import re

from scripts.evaluation.result import Flip
from scripts.report.lineup import Lineup
from scripts.report.numbers import divergence, whole_percent
from scripts.report.parts import Answers, Completion, Paragraph, Section, Table

_SAMPLES = """\
Greedy completions: the most likely token is taken at each step. **Bold** begins at the first \
word that is not FP16's; from there on the texts go separate ways, and a different answer need \
not be a worse one."""

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#~])")


# A bare one would start a formula.
DOLLAR = "<span>$</span>"


def escaped(text: str) -> str:
    """`text` as plain words inside a Markdown table cell or heading.

    A pipe is left to mdutils, which escapes it in cells.
    """
    text = text.replace("&", "&amp;").replace("\r", "").replace("\t", " ")
    text = _MARKUP.sub(r"\\\1", text).replace("$", DOLLAR)
    return re.sub(r"\n+", "<br>", text.strip())


def departure(base: str, other: str) -> int:
    """Where `other` first differs from `base`, moved back to the start of that word.

    It is `len(other)` where they are the same, and where `other` ends after a word of `base`.
    """
    pairs = enumerate(zip(base, other, strict=False))
    place = next((n for n, (one, two) in pairs if one != two), min(len(base), len(other)))
    if all(place == len(text) or text[place].isspace() for text in (base, other)):
        return place
    while place > 0 and not other[place - 1].isspace():
        place -= 1
    return place


def parted(base: str, other: str) -> tuple[str, str]:
    """What `other` has in common with `base` up to where it departs, and the rest of it."""
    base, other = base.strip(), other.strip()
    place = departure(base, other)
    return other[:place], other[place:]


def marked(answer: Completion) -> str:
    """An answer for a cell of Markdown, bold from where it departs from the base's."""
    if not answer.kept and not answer.changed:
        return "*(nothing)*"
    if answer.ends_early:
        return f"{escaped(answer.kept)} **(ends here)**"
    bold = "<br>".join(
        f"**{escaped(line)}**" for line in answer.changed.split("\n") if line.strip()
    )
    text = answer.kept + answer.changed
    gap = text[len(answer.kept.rstrip()) : len(text) - len(answer.changed.lstrip())]
    between = "<br>" if "\n" in gap else " "
    return between.join(part for part in (escaped(answer.kept), bold) if part)


def completion(name: str, base: str, other: str) -> Completion:
    """The answer `other` of the row `name`, beside the base's."""
    kept, changed = parted(base, other)
    words = len(kept.split())
    same = "1 word" if words == 1 else f"{words} words"
    if other.strip() == base.strip():
        same = "all"
    ends_early = bool(kept) and not changed and len(kept) < len(base.strip())
    return Completion(name, same, kept, changed, ends_early)


def samples(lineup: Lineup) -> Section:
    """All rows' completions of each prompt."""
    answers = (
        Answers(
            sample.prompt,
            tuple(
                completion(lineup.name(row), sample.completion, row.samples[place].completion)
                for row in lineup.rows
            ),
        )
        for place, sample in enumerate(lineup.base.samples)
    )
    return Section("Samples side by side", (Paragraph(_SAMPLES), *answers), "Samples")


_FLIPS = """\
For each artefact, the places of the evaluation's text where its most likely next token is not \
FP16's and the divergence is largest, with the probability that each gives its own token. Names \
and numbers that flip are worth more worry than synonyms."""
_SHOWN = 3


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


def _visible(token: str) -> str:
    """A token with its leading space and its line breaks made visible."""
    shown = token.replace("\n", "⏎")
    return escaped(f"␣{shown[1:]}" if shown.startswith(" ") else shown)


def _cells(flip: Flip) -> tuple[str, str, str, str]:
    context = " ".join(flip.context.split())
    return (
        f"… {escaped(context)}",
        f"{_visible(flip.expected)} ({whole_percent(flip.expected_p)})",
        f"{_visible(flip.got)} ({whole_percent(flip.got_p)})",
        divergence(flip.kld),
    )
