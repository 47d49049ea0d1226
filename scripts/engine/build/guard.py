"""One builder per target: two runs of doit in one checkout wait for each other."""

import contextlib
import fcntl
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

from scripts.engine import console

LOCKS = Path("cache/state/locks")
_PAUSE_S = 0.02
_held: set[Path] = set()


@contextlib.contextmanager
def only_one(target: Path) -> Iterator[None]:
    """Hold the kernel's lock for `target`; a process that dies lets go of it."""
    LOCKS.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(target.absolute().as_posix().encode()).hexdigest()[:32]
    with (LOCKS / name).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.current().say(f"  … another doit builds {target}; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        _held.add(target)
        try:
            yield
        finally:
            _held.discard(target)


def wait_until_free(seconds: float) -> None:
    """Give the builds of this process, whose stages were stopped, time to clear up."""
    end = time.monotonic() + seconds
    while _held and time.monotonic() < end:
        time.sleep(_PAUSE_S)
