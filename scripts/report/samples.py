"""Greedy completions side by side, with the place where each leaves the base's."""

import re

from scripts.evaluation.result import Evaluation
from scripts.report.lineup import Lineup
from scripts.report.tables import Table

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
    if base == other:
        return len(other)
    pairs = zip(base, other, strict=False)
    place = next((n for n, (one, two) in enumerate(pairs) if one != two), None)
    if place is None:
        place = min(len(base), len(other))
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


def ends_early(base: str, other: str) -> bool:
    """Whether `other` says just what `base` does, but stops before its end."""
    base, other = base.strip(), other.strip()
    return 0 < departure(base, other) == len(other) < len(base)


def marked(base: str, other: str) -> str:
    """`other` for a cell, bold from where it departs from `base`."""
    other = other.strip()
    if not other:
        return "*(nothing)*"
    if ends_early(base, other):
        return f"{escaped(other)} **(ends here)**"
    kept, changed = parted(base, other)
    bold = "<br>".join(f"**{escaped(line)}**" for line in changed.split("\n") if line.strip())
    gap = other[len(kept.rstrip()) : len(other) - len(changed.lstrip())]
    between = "<br>" if "\n" in gap else " "
    return between.join(part for part in (escaped(kept), bold) if part)


def same_until(base: str, other: str) -> str:
    """How many words of `other` are as in `base` before the first that is not: `7 words`, `all`."""
    base, other = base.strip(), other.strip()
    if base == other:
        return "all"
    words = len(other[: departure(base, other)].split())
    return "1 word" if words == 1 else f"{words} words"


def sample_table(lineup: Lineup, place: int) -> Table:
    """All rows' completions of one prompt; the first row is the base."""
    base = lineup.base.samples[place].completion

    def cells(row: Evaluation) -> tuple[str, str, str]:
        own = row.samples[place].completion
        return lineup.name(row), same_until(base, own), marked(base, own)

    yardstick = (lineup.name(lineup.base), "", marked(base, base))
    rest = (cells(row) for row in lineup.rows[1:])
    return Table(("artefact", "same for", "completion"), (yardstick, *rest))
