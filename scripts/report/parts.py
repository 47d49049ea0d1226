"""What a report is put together from; each page renders these parts in its own way.

Texts are Markdown without line breaks: code, emphasis and links may stand in them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

Terms = Sequence[tuple[str, str]]


class Part:
    """What a section is made of."""


@dataclass(frozen=True)
class Paragraph(Part):
    """Sentences; `quiet` ones are a note on what stands above."""

    text: str
    quiet: bool = False


@dataclass(frozen=True)
class Subtitle(Part):
    """A heading within a section."""

    text: str


@dataclass(frozen=True)
class Items(Part):
    """A list; of warnings where it is `careful`."""

    texts: tuple[str, ...]
    careful: bool = False


@dataclass(frozen=True)
class Explanations(Part):
    """Terms and what they mean; numbered where they are steps."""

    terms: Terms
    numbered: bool = False


@dataclass(frozen=True)
class Table(Part):
    """A header and rows of cells. The columns named in `figures` align right.

    Markdown has no captions: that of a `titled` table is a heading there.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    figures: frozenset[str] = frozenset()
    titled: bool = False

    @property
    def align(self) -> list[str]:
        """`left` or `right` for each column."""
        return ["right" if name in self.figures else "left" for name in self.header]


@dataclass(frozen=True)
class Drawing(Part):
    """A chart by its name; `caption` says what to look for, `words` what those can't see."""

    chart: str
    caption: str
    words: str


@dataclass(frozen=True)
class Code(Part):
    """A listing in `language`, named by `title`."""

    language: str
    title: str
    text: str


@dataclass(frozen=True)
class Cell:
    """What a cell of the comparison shows, what it is sorted by, and its classes of the style."""

    text: str
    key: float
    look: str


@dataclass(frozen=True)
class Column:
    """A figure's name, whether more of it is better, and its class of the style."""

    name: str
    higher: bool
    look: str


@dataclass(frozen=True)
class Overview(Part):
    """All figures of all rows. `groups` are columns by their group's name; `rows` are the row's
    key, its name and its cells, in the order of the groups."""

    groups: dict[str, tuple[Column, ...]]
    rows: tuple[tuple[str, str, tuple[Cell, ...]], ...]


@dataclass(frozen=True)
class Badge:
    """An artefact with its verdict and the figures that a card shows."""

    name: str
    word: str
    rank: int
    figures: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Pick:
    """One recommendation: for whom, which artefact (None where none fits), and why in figures."""

    purpose: str
    name: str | None
    reason: str

    @property
    def bold(self) -> str:
        """The artefact's name for a sentence or a cell."""
        return f"**`{self.name}`**" if self.name else "none"


@dataclass(frozen=True)
class Recommendation:
    """An artefact (None where none fits), and the picks that chose it."""

    badge: Badge | None
    picks: tuple[Pick, ...]


@dataclass(frozen=True)
class Advice(Part):
    """The one to take by default, then cards by their titles."""

    first: Recommendation
    cards: tuple[tuple[str, tuple[Recommendation, ...]], ...]


@dataclass(frozen=True)
class Completion:
    """One row's answer: how much of it is as the base's (`7 words`, `all`), that text, and what it
    says from there on."""

    name: str
    same: str
    kept: str
    changed: str
    ends_early: bool


@dataclass(frozen=True)
class Answers(Part):
    """The answers of all rows to one prompt, as they came; the first is the base's."""

    prompt: str
    completions: tuple[Completion, ...]


@dataclass(frozen=True)
class Section:
    """A heading and what follows it; `short` is its name in the list of sections, if it has one.

    A section that `failed` tells of what is wrong.
    """

    title: str
    parts: tuple[Part, ...]
    short: str = ""
    failed: bool = False

    @property
    def anchor(self) -> str:
        """What links lead to: as GitHub makes it of the title."""
        return anchor(self.title)


def anchor(title: str) -> str:
    """The anchor of a heading."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
