"""Progress of long work, written to the pipe that the parent process opened, if it did."""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

IN_NO_KEY = "it reports how far work is, and makes no bytes"

PIPE_VARIABLE = "QUANTMAKE_PROGRESS_FD"
BYTES = "B"
Item = TypeVar("Item")

_SECONDS_BETWEEN_REPORTS = 0.2


class Progress:
    """Reports `done` of `total` units of one piece of work; silent where nobody listens."""

    def __init__(self, what: str, total: float, unit: str = "") -> None:
        self.what, self.total, self.unit, self.done = what, total, unit, 0.0
        pipe = os.environ.get(PIPE_VARIABLE)
        self._pipe = int(pipe) if pipe else None
        self._last = 0.0
        self._send()

    def advance(self, amount: float = 1) -> None:
        """Add `amount` units to the work that is done."""
        self.done += amount
        if self.done >= self.total or time.monotonic() - self._last > _SECONDS_BETWEEN_REPORTS:
            self._send()

    def _send(self) -> None:
        self._last = time.monotonic()
        if self._pipe is None:
            return
        line = {"what": self.what, "done": self.done, "total": self.total, "unit": self.unit}
        try:
            os.write(self._pipe, json.dumps(line).encode() + b"\n")
        except OSError:
            self._pipe = None


def track(
    items: Sequence[Item], what: str, size: Callable[[Item], int] | None = None
) -> Iterator[Item]:
    """Yield `items`, reporting one unit for each, or the bytes that `size` gives."""
    sizes = [size(item) for item in items] if size else [1] * len(items)
    bar = Progress(what, sum(sizes), BYTES if size else "")
    for item, amount in zip(items, sizes, strict=True):
        yield item
        bar.advance(amount)
