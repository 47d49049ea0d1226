"""Greedy completions side by side, with the place where each leaves the base's."""

import re

from scripts.report.lineup import Lineup
from scripts.report.parts import Answers, Completion, Paragraph, Section

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


def marked(answer: Completion) -> str:
    """An answer for a cell of Markdown, bold from where it departs from the base's."""
    if not answer.kept and not answer.changed:
        return "*(nothing)*"
    if answer.ends_early:
        return f"{escaped(answer.kept)} **(ends here)**"
    bold = "<br>".join(
        f"**{escaped(line)}**" for line in answer.changed.split("\n") if line.strip()
    )
    gap = answer.kept[len(answer.kept.rstrip()) :] + answer.changed[: _indent(answer.changed)]
    between = "<br>" if "\n" in gap else " "
    return between.join(part for part in (escaped(answer.kept), bold) if part)


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip())


def same_until(base: str, other: str) -> str:
    """How many words of `other` are as in `base` before the first that is not: `7 words`, `all`."""
    base, other = base.strip(), other.strip()
    if base == other:
        return "all"
    words = len(other[: departure(base, other)].split())
    return "1 word" if words == 1 else f"{words} words"


def completion(name: str, base: str, other: str) -> Completion:
    """The answer `other` of the row `name`, beside the base's."""
    kept, changed = parted(base, other)
    return Completion(name, same_until(base, other), kept, changed, ends_early(base, other))


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
