"""What got better or worse since the last committed report."""

from collections.abc import Iterator
from math import hypot

from scripts.report.advice import SPEED_MARGIN
from scripts.report.history import Figures, History, Snapshot
from scripts.report.lineup import code
from scripts.report.numbers import divergence, percent
from scripts.report.tables import Table

TITLE = "Since the last committed report"
_SIZE_MARGIN = 0.001
_BETTER = {True: "better", False: "worse"}

Row = tuple[str, str, str, str, str]


def change_sentence(history: History) -> str:
    """What is compared with what; nothing where there was no report before."""
    before = history.before
    if before is None:
        return ""
    speeds = (
        f"speeds from {percent(SPEED_MARGIN, 0)} on"
        if before.cpu == history.now.cpu
        else f"speeds not at all, since they were taken on another processor, {before.cpu}"
    )
    sentence = (
        f"A KL divergence counts as changed beyond the standard error of the difference, a size "
        f"from {percent(_SIZE_MARGIN)} on, {speeds}."
    )
    if change_table(history).rows:
        return sentence
    return f"No artefact got better or worse. {sentence}"


def change_table(history: History) -> Table:
    """A row for each figure that changed."""
    rows = tuple(_rows(history.now, history.before)) if history.before else ()
    header = ("artefact", "figure", "is", "before", "now")
    return Table(header, rows, frozenset({"before", "now"}))


def _rows(now: Snapshot, before: Snapshot) -> Iterator[Row]:
    for name in sorted({*now.artifacts, *before.artifacts}):
        if name not in before.artifacts:
            yield code(name), "", "new", "", ""
        elif name not in now.artifacts:
            yield code(name), "", "gone", "", ""
        else:
            pair = now.artifacts[name], before.artifacts[name]
            yield from ((code(name), *cells) for cells in _quality(*pair))
            if now.cpu == before.cpu:
                yield from ((code(name), *cells) for cells in _speeds(*pair))


def _quality(now: Figures, before: Figures) -> Iterator[tuple[str, str, str, str]]:
    if abs(now.kld.value - before.kld.value) > hypot(now.kld.se, before.kld.se):
        values = divergence(before.kld.value), divergence(now.kld.value)
        yield "KLD", _BETTER[now.kld.value < before.kld.value], *values
    if abs(now.bytes / before.bytes - 1) >= _SIZE_MARGIN:
        sizes = f"{before.bytes / 1e6:,.1f}", f"{now.bytes / 1e6:,.1f}"
        yield "MB", _BETTER[now.bytes < before.bytes], *sizes


def _speeds(now: Figures, before: Figures) -> Iterator[tuple[str, str, str, str]]:
    for name, new, old in (
        ("prefill t/s", now.prefill, before.prefill),
        ("decode t/s", now.decode, before.decode),
    ):
        if abs(new / old - 1) >= SPEED_MARGIN:
            yield name, _BETTER[new > old], f"{old:,.0f}", f"{new:,.0f}"
