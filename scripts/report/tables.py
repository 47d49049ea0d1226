"""The comparison of all rows: every measure, how weights are stored, the repeats of timings."""

from scripts.evaluation.result import Evaluation
from scripts.report.lineup import Lineup, code
from scripts.report.measures import GROUPS, Measure, measures_of
from scripts.report.numbers import percent, with_error
from scripts.report.parts import Cell, Column, Overview, Table
from scripts.report.verdicts import rank

_IN_SHORT = "In short"


def overview(lineup: Lineup) -> Overview:
    """All measures in one table; what most readers look for comes first."""
    grouped = {group: measures_of(group) for group in GROUPS}
    measures = [one for group in grouped.values() for one in group]
    groups = {_IN_SHORT: [one for one in measures if one.in_short]}
    groups |= {name: [one for one in own if not one.in_short] for name, own in grouped.items()}
    return Overview(
        {
            name: tuple(
                Column(one.header, one.higher, "word" if one.word else "figure") for one in own
            )
            for name, own in groups.items()
        },
        tuple(
            (
                row.artifact,
                lineup.name(row),
                tuple(_cell(one, row, lineup) for own in groups.values() for one in own),
            )
            for row in lineup.rows
        ),
    )


def _cell(measure: Measure, row: Evaluation, lineup: Lineup) -> Cell:
    look = "figure"
    if measure.word is not None:
        look = "word" if lineup.is_baseline(row) else f"word rank-{rank(row)}"
    return Cell(measure.text(row, lineup), measure.value(row, lineup), look)


def stored_table(lineup: Lineup) -> Table:
    """How the weights of each row are stored."""
    rows = (
        (
            lineup.name(row),
            ", ".join(f"{count} × {kind}" for kind, count in row.size.tensor_types.items()),
        )
        for row in lineup.rows
    )
    header = ("artefact", "weight tensors stored as")
    return Table("How the weights are stored", header, tuple(rows), titled=True)


def repeats_table(lineup: Lineup) -> Table:
    """Median, minimum and maximum of the repeats of each timing."""
    measures = [
        one for group in GROUPS for one in measures_of(group) if one.spread(lineup.base, lineup)
    ]
    rows = (
        (lineup.name(row), *(one.spread(row, lineup) for one in measures)) for row in lineup.rows
    )
    headers = tuple(one.header for one in measures)
    caption = "Timings as median, minimum, maximum and number of repeats"
    return Table(caption, ("artefact", *headers), tuple(rows), frozenset(headers))


def has_tasks(lineup: Lineup) -> bool:
    """Whether the recipe has multiple-choice sets."""
    return any(row.tasks for row in lineup.rows)


def task_table(lineup: Lineup) -> Table:
    """How each row answers multiple-choice questions, and how often as FP16 does."""
    rows = [
        (
            name,
            f"{score.items:,}",
            lineup.name(row),
            with_error(percent, score.accuracy),
            "" if row is lineup.base else percent(score.agreement.value),
            "" if row is lineup.base else f"{score.lost} lost, {score.won} won",
        )
        for name in lineup.base.tasks
        for row in lineup.rows
        for score in [row.tasks[name]]
    ]
    header = ("set", "questions", "artefact", "right", "same answer as FP16", "against FP16")
    figures = frozenset({"questions", "right", "same answer as FP16"})
    return Table("Multiple choice", header, tuple(rows), figures, titled=True)


def notes(lineup: Lineup) -> tuple[str, ...]:
    """What the artefacts' own inventories have to say."""
    return tuple(f"{code(row.artifact)}: {note}" for row in lineup.rows for note in row.notes)
