"""A memory budget for stages that run at one time, and what a stage has for itself."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from scripts.engine import console
from scripts.engine.build.action import Action
from scripts.engine.run.forecasts import need_of
from scripts.engine.store.manifest import read_manifest

_LEAST = 1 << 30
_BETWEEN_LOOKS_S = 0.1


def expected(action: Action) -> int:
    """Bytes that a stage may need; where nobody can say, 1 GiB and its inputs twice."""
    memory = need_of(action).memory
    if memory is not None:
        return memory
    manifests = [read_manifest(path) for path in action.inputs.values()]
    size = sum(file.size for manifest in manifests if manifest for file in manifest.files)
    return _LEAST + 2 * size


class Budget:
    """Lets `at_once` stages run together while what they expect to need fits into a limit.

    One stage always may run: whether it fits alone was looked at before.
    """

    def __init__(self, at_once: int | None = None) -> None:
        self._at_once = at_once
        self._used = self._running = 0
        self._alone = False
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def share(
        self, task: str, amount: int, limit: int | None, *, alone: bool = False
    ) -> Iterator[None]:
        """Wait until `amount` of `limit` bytes are free, or nothing else runs, and hold them.

        A stage that runs `alone`, for its timings, has no other one beside it.
        """
        with self._changed:
            if not alone and not self._fits(amount, limit, alone):
                console.current().say(
                    f"  … {task} waits: it may need {amount / 2**30:.1f} GiB of memory"
                )
            self._changed.wait_for(lambda: self._fits(amount, limit, alone))
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

    def _fits(self, amount: int, limit: int | None, alone: bool) -> bool:
        if not self._running:
            return True
        if alone or self._alone or self._running == self._at_once:
            return False
        return limit is None or self._used + amount <= limit


def own_memory(pid: int) -> int:
    """Bytes that a process and those that it started have for themselves; 0 where it is gone.

    RssAnon of /proc/PID/status: files that are mapped into memory do not count.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        family = [process.pid, *(child.pid for child in process.children(recursive=True))]
    except psutil.NoSuchProcess:
        return 0
    return sum(map(_own, family))


def _own(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    found = [line.split()[1] for line in lines if line.startswith("RssAnon:")]
    return int(found[0]) * 1024 if found else 0


class PeakMemory:
    """Looks at a process from a thread until it is told to stop; `most` is the peak in bytes."""

    def __init__(self, pid: int) -> None:
        self.most = 0
        self._pid, self._over = pid, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(_BETWEEN_LOOKS_S):
            self.most = max(self.most, own_memory(self._pid))

    def stop(self) -> int:
        """The peak so far; nothing is looked at any more."""
        self._over.set()
        self._thread.join()
        return self.most
