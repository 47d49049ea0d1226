"""A memory budget for stages that run at one time, from what they needed the last time."""

import contextlib
import threading
from collections.abc import Iterator

from scripts.engine import console
from scripts.engine.action import Action
from scripts.engine.manifest import read_manifest
from scripts.engine.record import read_record

_LEAST = 1 << 30


def expected(action: Action) -> int:
    """Bytes that a stage may need: its last peak, else 1 GiB and its inputs twice."""
    built = read_record(action.target)
    if built is not None and built.memory:
        return built.memory
    manifests = [read_manifest(path) for path in action.inputs.values()]
    size = sum(file.size for manifest in manifests if manifest for file in manifest.files)
    return _LEAST + 2 * size


class Budget:
    """Lets `at_once` stages run together while what they expect to need fits into `limit` bytes.

    One stage always may run: whether it fits alone is for the machine to say.
    """

    def __init__(self, limit: int | None, at_once: int | None = None) -> None:
        self._limit, self._at_once = limit, at_once
        self._used = self._running = 0
        self._alone = False
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def share(self, task: str, amount: int, *, alone: bool = False) -> Iterator[None]:
        """Wait until `amount` bytes are free, or nothing else runs, and hold them.

        A stage that runs `alone`, for its timings, has no other one beside it.
        """
        with self._changed:
            if self._limit is not None and not self._fits(amount, alone):
                console.current().say(
                    f"  … {task} waits: it may need {amount / 2**30:.1f} GiB of memory"
                )
            self._changed.wait_for(lambda: self._fits(amount, alone))
            self._used += amount
            self._running += 1
            self._alone = alone
        try:
            yield
        finally:
            with self._changed:
                self._used -= amount
                self._running -= 1
                self._alone = False
                self._changed.notify_all()

    def _fits(self, amount: int, alone: bool) -> bool:
        if not self._running:
            return True
        if alone or self._alone or self._running == self._at_once:
            return False
        return self._limit is None or self._used + amount <= self._limit
