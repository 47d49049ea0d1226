"""The figures of a report, kept beside it as data, and what has changed since the last one."""

import subprocess
from collections.abc import Iterator
from math import hypot
from pathlib import Path

from pydantic import ValidationError

from scripts.evaluation.result import Estimate
from scripts.report.lineup import Lineup, code
from scripts.report.measures import MEASURES, SPEED, Measure, measures_of, value_of
from scripts.report.numbers import percent
from scripts.report.parts import Paragraph, Section, Table
from scripts.strict import Strict

FIGURES = "figures.json"

Kept = float | Estimate


class Snapshot(Strict):
    """What is compared of each artefact of a report, by the measures' keys, and the processor that
    its speeds belong to."""

    cpu: str
    artifacts: dict[str, dict[str, Kept]]


class History(Strict):
    """The figures of a report, and those of the one that it was compared with."""

    now: Snapshot
    before: Snapshot | None


def history(lineup: Lineup, committed: History | None) -> History:
    """The figures of `lineup`, beside those of the last committed report that had others.

    Where the committed report is this very one, what that was compared with stays, so that
    committing a report does not change it.
    """
    compared = [one for one in measures_of(lineup) if one.margin is not None]
    now = Snapshot(
        cpu=lineup.base.machine.cpu,
        artifacts={
            row.artifact: {one.key: one.kept(row, lineup) for one in compared}
            for row in lineup.artifacts
        },
    )
    if committed is None:
        return History(now=now, before=None)
    return History(now=now, before=committed.before if committed.now == now else committed.now)


def changes(history: History) -> list[Section]:
    """No section where there was no report before."""
    if history.before is None:
        return []
    table = change_table(history.now, history.before)
    sentence = change_sentence(history.now, history.before)
    if not table.rows:
        sentence = f"No artefact got better or worse. {sentence}"
    parts = (Paragraph(sentence), *([table] if table.rows else []))
    return [Section("Since the last committed report", parts)]


def change_sentence(now: Snapshot, before: Snapshot) -> str:
    """What counts as a change."""
    margins = {one.key: one.margin for one in MEASURES.values() if one.margin}
    speeds = (
        f"speeds from {percent(margins['decode'], 0)} on"
        if before.cpu == now.cpu
        else f"speeds not at all, since they were taken on another processor, {before.cpu}"
    )
    embeds = any("cosine" in figures for figures in now.artifacts.values())
    what = "cosine" if embeds else "KL divergence"
    return (
        f"A {what} counts as changed beyond the standard error of the difference, a size "
        f"from {percent(margins['bytes'])} on, {speeds}."
    )


def change_table(now: Snapshot, before: Snapshot) -> Table:
    """A row for each figure that changed."""
    header = ("artefact", "figure", "is", "before", "now")
    rows = tuple(_rows(now, before))
    return Table("What got better or worse", header, rows, frozenset({"before", "now"}))


def _rows(now: Snapshot, before: Snapshot) -> Iterator[tuple[str, ...]]:
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
                    values = value_of(old), value_of(figure)
                    word = "better" if (values[1] > values[0]) == measure.higher else "worse"
                    yield code(name), measure.header, word, *map(measure.show, values)


def _differs(measure: Measure, now: Kept, before: Kept) -> bool:
    if isinstance(now, Estimate) and isinstance(before, Estimate):
        return abs(now.value - before.value) > hypot(now.se, before.se)
    return abs(value_of(now) / value_of(before) - 1) >= (measure.margin or 0)


def committed_figures(file: Path) -> History | None:
    """What HEAD holds of `file`; None where there is no git, no such file, or another format."""
    try:
        done = subprocess.run(
            ["git", "show", f"HEAD:./{file.as_posix()}"], capture_output=True, check=True
        )
        return History.model_validate_json(done.stdout)
    except (OSError, subprocess.CalledProcessError, ValidationError):
        return None
