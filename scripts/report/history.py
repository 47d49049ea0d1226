"""The figures of a report as data, kept beside it: what the next one is compared with."""

from scripts.evaluation.result import Estimate
from scripts.report.lineup import Lineup, decode, prefill
from scripts.strict import Strict

FIGURES = "figures.json"


class Figures(Strict):
    """What is compared of one artefact; KLD in nats, speeds in tokens per second."""

    bytes: int
    kld: Estimate
    prefill: float
    decode: float


class Snapshot(Strict):
    """All artefacts of one report, and the processor that their speeds belong to."""

    cpu: str
    artifacts: dict[str, Figures]


class History(Strict):
    """The figures of a report, and those of the one that it was compared with."""

    now: Snapshot
    before: Snapshot | None


def history(lineup: Lineup, committed: History | None) -> History:
    """The figures of `lineup`, beside those of the last committed report that had others.

    Where the committed report is this very one, what that was compared with stays, so that
    committing a report does not change it.
    """
    now = Snapshot(
        cpu=lineup.base.machine.cpu,
        artifacts={
            row.artifact: Figures(
                bytes=row.size.bytes,
                kld=row.quality.kld_mean,
                prefill=prefill(row),
                decode=decode(row),
            )
            for row in lineup.artifacts
        },
    )
    if committed is None:
        return History(now=now, before=None)
    before = committed.before if committed.now == now else committed.now
    return History(now=now, before=before)
