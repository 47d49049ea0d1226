"""One builder per target: two runs of doit in one checkout wait for each other."""

import contextlib
import fcntl
import hashlib
from collections.abc import Iterator
from pathlib import Path

from scripts.engine import console

LOCKS = Path("cache/state/locks")


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
        yield
