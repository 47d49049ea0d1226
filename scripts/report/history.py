"""The figures of a report as data, kept beside it: what the next one is compared with."""

from scripts.evaluation.result import Estimate, Spread
from scripts.report.lineup import Lineup
from scripts.report.measures import MEASURES, Number
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
    compared = [one for one in MEASURES.values() if one.margin is not None]
    now = Snapshot(
        cpu=lineup.base.machine.cpu,
        artifacts={
            row.artifact: {one.key: _kept(one.figure(row, lineup)) for one in compared}
            for row in lineup.artifacts
        },
    )
    if committed is None:
        return History(now=now, before=None)
    before = committed.before if committed.now == now else committed.now
    return History(now=now, before=before)


def _kept(figure: Number) -> Kept:
    return figure.median if isinstance(figure, Spread) else figure
