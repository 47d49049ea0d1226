"""What the page shows beyond the tables of the Markdown report: cards, one large table, samples."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from scripts.backends.face import face_of
from scripts.evaluation.result import Evaluation
from scripts.report.advice import Pick, picks, rank, verdict
from scripts.report.charts import frontier
from scripts.report.lineup import Lineup, code, decode, kld, megabytes, prefill
from scripts.report.numbers import divergence, percent
from scripts.report.samples import ends_early, parted, same_until
from scripts.report.tables import Table, detail_table, quality_table, size_table, speed_table

_NUMBER = re.compile(r"-?[\d,]+(?:\.\d+)?")
_WORD = "in a word"
_STORED = "weight tensors stored as"
# What most readers look for comes first, so that it is seen before the table is scrolled.
GROUPS = {
    "In short": (_WORD, "MB", "KLD ± se", "prefill t/s", "decode t/s"),
    "Quality": (
        "same top token",
        "99 % KLD",
        "99.9 % KLD",
        "RMS Δp",
        "perplexity ± se",
        "× FP16",
    ),
    "Size": ("of FP16", "bits per weight"),
    "Speed and memory": (
        "decode, × FP16",
        "× own runtime's float",
        "first token ms",
        "load s",
        "peak RSS MB",
    ),
}


@dataclass(frozen=True)
class Facts:
    """The figures that a card shows of its artefact."""

    name: str
    backend: str
    word: str
    rank: int
    figures: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Choice:
    """One artefact (None where none fits), and the picks that chose it."""

    facts: Facts | None
    picks: tuple[Pick, ...]


@dataclass(frozen=True)
class Card:
    """One profile, and what to take for it."""

    title: str
    choices: tuple[Choice, ...]


def facts(lineup: Lineup, name: str | None) -> Facts | None:
    """The figures of an artefact; None for a pick that found none."""
    row = next((one for one in lineup.artifacts if one.artifact == name), None)
    if row is None:
        return None
    share = percent(row.size.bytes / lineup.base.size.bytes, 0)
    return Facts(
        row.artifact,
        face_of(row.backend).title,
        verdict(row),
        rank(row),
        (
            ("size, share of FP16", f"{megabytes(row):,.0f} MB, {share}"),
            ("KL divergence", divergence(kld(row))),
            ("prefill", f"{prefill(row):,.0f} tokens/s"),
            ("decode", f"{decode(row):,.0f} tokens/s"),
        ),
    )


def cards(lineup: Lineup) -> list[Card]:
    """The smallest, the fastest, the closest."""
    closest, smallest, answers, reading = picks(lineup)

    return [
        _card(lineup, smallest.purpose, smallest),
        _card(lineup, "Fastest", answers, reading),
        _card(lineup, closest.purpose, closest),
    ]


def _card(lineup: Lineup, title: str, *chosen: Pick) -> Card:
    """Picks of the same artefact share its name and figures."""
    names = dict.fromkeys(pick.name for pick in chosen)
    return Card(
        title,
        tuple(
            Choice(facts(lineup, name), tuple(pick for pick in chosen if pick.name == name))
            for name in names
        ),
    )


@dataclass(frozen=True)
class Cell:
    """What a cell shows, what it is sorted by, and what it looks like: classes of the style."""

    text: str
    key: str | float
    look: str


@dataclass(frozen=True)
class Comparison:
    """All figures in one table: groups of columns with their names, and rows of cells."""

    groups: Mapping[str, tuple[str, ...]]
    rows: tuple[tuple[str, str, tuple[Cell, ...]], ...]


def comparison(lineup: Lineup) -> Comparison:
    """The tables of quality, size, speed and details as one; the cells' texts are theirs."""
    tables = (detail_table(lineup), quality_table(lineup), size_table(lineup), speed_table(lineup))
    rows = []
    for place, row in enumerate(lineup.rows):
        # The speeds' table comes last: its medians stand for the details' spreads.
        texts = {
            column: text
            for table in tables
            for column, text in zip(table.header, table.rows[place], strict=True)
        }
        cells = (
            _cell(lineup, row, column, texts[column])
            for columns in GROUPS.values()
            for column in columns
        )
        rows.append((row.artifact, texts["artefact"], tuple(cells)))
    return Comparison(GROUPS, tuple(rows))


def _cell(lineup: Lineup, row: Evaluation, column: str, text: str) -> Cell:
    """A word is sorted by what it stands for, a figure by its value as it is shown."""
    if column == _WORD:
        look = "word" if lineup.is_baseline(row) else f"word rank-{rank(row)}"
        return Cell(text, kld(row), look)
    found = _NUMBER.search(text)
    return Cell(text, float(found[0].replace(",", "")) if found else text, "figure")


def stored(lineup: Lineup) -> Table:
    """How each row's weights are stored."""
    full = size_table(lineup)
    column = full.header.index(_STORED)
    return Table(("artefact", _STORED), tuple((row[0], row[column]) for row in full.rows))


@dataclass(frozen=True)
class Completion:
    """One row's answer: what it shares with the base's, and what it says from there on."""

    name: str
    same: str
    kept: str
    changed: str
    ends_early: bool


@dataclass(frozen=True)
class SampleView:
    """A prompt, the base's answer, who gave the same one, and the other answers."""

    prompt: str
    base: str
    identical: tuple[str, ...]
    others: tuple[Completion, ...]


def samples(lineup: Lineup) -> list[SampleView]:
    """One for each prompt."""
    return [_sample(lineup, place) for place in range(len(lineup.base.samples))]


def _sample(lineup: Lineup, place: int) -> SampleView:
    base = lineup.base.samples[place]
    answers = [(lineup.name(row), row.samples[place].completion) for row in lineup.rows[1:]]
    others = (
        Completion(
            name,
            same_until(base.completion, text),
            *parted(base.completion, text),
            ends_early(base.completion, text),
        )
        for name, text in answers
        if text.strip() != base.completion.strip()
    )
    same = (name for name, text in answers if text.strip() == base.completion.strip())
    return SampleView(base.prompt, base.completion.strip(), tuple(same), tuple(others))


def frontier_words(lineup: Lineup) -> str:
    """The frontier of the size–quality chart in words, for those who can't see it."""
    points = [
        f"{code(row.artifact)} ({megabytes(row):,.0f} MB, KL divergence {divergence(kld(row))})"
        for row in frontier(lineup.artifacts)
    ]
    named = "; ".join(points)
    return f"Best for their size, since nothing is both smaller and closer to FP16: {named}."
