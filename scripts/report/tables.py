"""The comparison of all rows: every measure, how weights are stored, the repeats of timings."""

from scripts.evaluation.result import Evaluation
from scripts.report.lineup import Lineup
from scripts.report.measures import GROUPS, Measure, measures_of
from scripts.report.numbers import divergence, percent, with_error
from scripts.report.parts import Cell, Column, Overview, Table
from scripts.report.verdicts import rank
from scripts.report.yardsticks import cosine

_IN_SHORT = "In short"
_NOISE = 1e-4  # of the float models, whose divergence is the runtime's rounding


def overview(lineup: Lineup) -> Overview:
    """All measures in one table; what most readers look for comes first."""
    groups: dict[str, list[Measure]] = {name: [] for name in (_IN_SHORT, *GROUPS)}
    for one in measures_of(lineup):
        groups[_IN_SHORT if one.in_short else one.group].append(one)
    measures = [one for own in groups.values() for one in own]
    rows = (
        (row.artifact, lineup.name(row), tuple(_cell(one, row, lineup) for one in measures))
        for row in lineup.rows
    )
    return Overview({name: tuple(map(_column, own)) for name, own in groups.items()}, tuple(rows))


def _column(measure: Measure) -> Column:
    return Column(measure.header, measure.higher, "word" if measure.word else "figure")


def _cell(measure: Measure, row: Evaluation, lineup: Lineup) -> Cell:
    look = "figure"
    if measure.word is not None:
        look = "word" if lineup.is_baseline(row) else f"word rank-{rank(row)}"
    return Cell(measure.text(row, lineup), measure.value(row, lineup), look)


def text_table(lineup: Lineup) -> Table:
    """The KL divergence of each row on each kind of text, and the worst in times the first."""
    if lineup.base.embedded is not None:
        return _cosines_by_text(lineup)
    kinds = [one.kind for one in lineup.base.texts]
    rows = []
    for row in lineup.rows:
        each = {one.kind: one.quality.kld_mean for one in row.texts}
        first = row.first.kld_mean.value
        factor = f"{row.quality.kld_mean.value / first:.2f}" if first > _NOISE else ""
        cells = (with_error(divergence, each[kind]) for kind in kinds)
        rows.append((lineup.name(row), *cells, factor))
    worst = f"worst ÷ {kinds[0]}"
    header = ("artefact", *kinds, worst)
    return Table("KLD by kind of text", header, tuple(rows), frozenset(header[1:]), titled=True)


def _cosines_by_text(lineup: Lineup) -> Table:
    """The mean cosine of each row on each kind of text."""
    each = {
        row.artifact: {one.kind: one.quality.cosine for one in row.embedded.texts}
        for row in lineup.rows
        if row.embedded is not None
    }
    kinds = tuple(each[lineup.base.artifact])
    rows = tuple(
        (
            lineup.name(row),
            *(with_error(cosine, each[row.artifact][kind]) for kind in kinds),
        )
        for row in lineup.rows
    )
    header = ("artefact", *kinds)
    return Table("Cosine by kind of text", header, rows, frozenset(kinds), titled=True)


def stored_table(lineup: Lineup) -> Table:
    """How the weights of each row are stored."""
    rows = []
    for row in lineup.rows:
        types = (f"{count} × {kind}" for kind, count in row.size.tensor_types.items())
        rows.append((lineup.name(row), ", ".join(types)))
    header = ("artefact", "weight tensors stored as")
    return Table("How the weights are stored", header, tuple(rows), titled=True)


def repeats_table(lineup: Lineup) -> Table:
    """Median, minimum and maximum of the repeats of each timing."""
    timed = next(row for row in lineup.rows if row.is_timed)
    measures = [one for one in measures_of(lineup) if one.spread(timed, lineup)]
    rows = (
        (lineup.name(row), *(one.spread(row, lineup) for one in measures)) for row in lineup.rows
    )
    headers = tuple(one.header for one in measures)
    caption = "Timings as median, minimum, maximum and number of repeats"
    return Table(caption, ("artefact", *headers), tuple(rows), frozenset(headers))


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
