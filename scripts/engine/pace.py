"""How fast a piece of work is, and when it will be done, from its reports."""

import time
from dataclasses import dataclass

from scripts.engine.sizes import human_time
from scripts.progress import BYTES

_SOON_S = 2.0  # before that nothing is known


@dataclass(frozen=True)
class Report:
    """`done` of `total` units of `what`; a total of 0 is not known."""

    what: str
    done: float
    total: float
    unit: str


class Pace:
    """Of one piece of work, since its first report: what an earlier run did does not count."""

    def __init__(self, first: Report) -> None:
        self.what = first.what
        self._before, self._began = first.done, time.monotonic()

    def text(self, report: Report) -> str:
        """Such as `quantising 43 %, 512 MB/s, 12 s left`."""
        took, did = time.monotonic() - self._began, report.done - self._before
        told = [f"{report.what} {report.done / report.total:.0%}" if report.total else report.what]
        if report.unit == BYTES and took > 0 and did:
            told.append(f"{did / took / 1e6:,.0f} MB/s")
        if report.total > report.done and did and took > _SOON_S:
            told.append(f"{human_time((report.total - report.done) / did * took)} left")
        return ", ".join(told)
