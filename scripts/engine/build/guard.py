"""One builder per target: two runs of doit in one checkout wait for each other."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from scripts.engine import console
from scripts.engine.store.files import exclusive

_PAUSE_S = 0.02
_held: set[Path] = set()


@contextlib.contextmanager
def only_one(target: Path) -> Iterator[None]:
    """Hold the kernel's lock for `target`; a process that dies lets go of it."""

    def waiting() -> None:
        console.current().say(f"  … another doit builds {target}; waiting for it")

    with exclusive(target, waiting):
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
