"""What got better or worse since the last committed report."""

from collections.abc import Iterator
from math import hypot

from scripts.evaluation.result import Estimate
from scripts.report.history import History, Kept, Snapshot
from scripts.report.lineup import code
from scripts.report.measures import MEASURES, SPEED, Measure, value_of
from scripts.report.numbers import percent
from scripts.report.parts import Paragraph, Part, Section, Table

Change = tuple[str, str, str, str, str]


def changes(history: History) -> list[Section]:
    """No section where there was no report before."""
    if history.before is None:
        return []
    table = change_table(history.now, history.before)
    sentence = change_sentence(history.now, history.before)
    if not table.rows:
        sentence = f"No artefact got better or worse. {sentence}"
    parts: list[Part] = [Paragraph(sentence)]
    if table.rows:
        parts.append(table)
    return [Section("Since the last committed report", tuple(parts))]


def change_sentence(now: Snapshot, before: Snapshot) -> str:
    """What counts as a change."""
    margins = {one.key: one.margin for one in MEASURES.values() if one.margin}
    speeds = (
        f"speeds from {percent(margins['decode'], 0)} on"
        if before.cpu == now.cpu
        else f"speeds not at all, since they were taken on another processor, {before.cpu}"
    )
    return (
        f"A KL divergence counts as changed beyond the standard error of the difference, a size "
        f"from {percent(margins['bytes'])} on, {speeds}."
    )


def change_table(now: Snapshot, before: Snapshot) -> Table:
    """A row for each figure that changed."""
    header = ("artefact", "figure", "is", "before", "now")
    rows = tuple(_rows(now, before))
    return Table("What got better or worse", header, rows, frozenset({"before", "now"}))


def _rows(now: Snapshot, before: Snapshot) -> Iterator[Change]:
    for name in sorted({*now.artifacts, *before.artifacts}):
        if name not in before.artifacts:
            yield code(name), "", "new", "", ""
        elif name not in now.artifacts:
            yield code(name), "", "gone", "", ""
        else:
            for key, figure in now.artifacts[name].items():
                measure, old = MEASURES[key], before.artifacts[name].get(key)
                compared = measure.group != SPEED or now.cpu == before.cpu
                if old is not None and compared and _differs(measure, figure, old):
                    yield _change(name, measure, value_of(figure), value_of(old))


def _differs(measure: Measure, now: Kept, before: Kept) -> bool:
    if isinstance(now, Estimate) and isinstance(before, Estimate):
        return abs(now.value - before.value) > hypot(now.se, before.se)
    return abs(value_of(now) / value_of(before) - 1) >= (measure.margin or 0)


def _change(name: str, measure: Measure, now: float, before: float) -> Change:
    word = "better" if (now > before) == measure.higher else "worse"
    return code(name), measure.header, word, measure.show(before), measure.show(now)
