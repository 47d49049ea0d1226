"""Files that are hashed while they are written, so that nobody has to read them again for that.

The digests go into a file that the build engine reads, if it runs the stage: one line of JSON for
each file, with what tells whether it was touched since.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

DIGESTS_VARIABLE = "QUANTMAKE_DIGESTS"
_AT_ONCE = 1 << 24  # bytes that are written and hashed at the same time


def identity(status: os.stat_result) -> str:
    """Device, inode, size and time of the last change of a file's bytes."""
    parts = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    return " ".join(map(str, parts))


class HashedFile:
    """A new file for writing from its start to its end; a gap that `seek` leaves reads as zeros.

    It has no `fileno`, so that nobody writes past it.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=0)
        self._hash, self._at = hashlib.sha256(), 0
        self._hashing = ThreadPoolExecutor(1)

    def __enter__(self) -> "HashedFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._hashing.shutdown()
        if kind is None:
            self._tell()
        self._file.close()

    def tell(self) -> int:
        """How many bytes the file has."""
        return self._at

    def seek(self, offset: int) -> int:
        """Go on at `offset`. Raises ValueError before the end, where bytes were hashed already."""
        if offset < self._at:
            raise ValueError(f"can't go back from {self._at} to {offset} in a file that is hashed")
        while self._at < offset:
            self.write(bytes(min(offset - self._at, _AT_ONCE)))
        return self._at

    def write(self, data: Any) -> int:
        """Write and hash any buffer; the caller may change it afterwards."""
        view = memoryview(data).cast("B")
        for start in range(0, len(view), _AT_ONCE):
            part = view[start : start + _AT_ONCE]
            hashed = self._hashing.submit(self._hash.update, part)
            try:
                while part:
                    part = part[self._file.write(part) :]
            finally:
                hashed.result()
        self._at += len(view)
        return len(view)

    def _tell(self) -> None:
        place = os.environ.get(DIGESTS_VARIABLE)
        if place:
            line = {
                "file": identity(os.fstat(self._file.fileno())),
                "sha256": self._hash.hexdigest(),
            }
            with Path(place).open("a") as digests:
                digests.write(json.dumps(line) + "\n")


@contextlib.contextmanager
def hashing(module: ModuleType) -> Iterator[None]:
    """Meanwhile `open(path, "wb")` in a module of another project gives a HashedFile."""

    def opened(path: str, mode: str = "r", **options: Any) -> Any:
        return HashedFile(Path(path)) if mode == "wb" else open(path, mode, **options)  # noqa: PTH123

    vars(module)["open"] = opened
    try:
        yield
    finally:
        del vars(module)["open"]


def known_digests(place: Path) -> dict[str, str]:
    """SHA-256 in hex by `identity`, of what a stage has written."""
    try:
        lines = [json.loads(line) for line in place.read_text().splitlines()]
        return {line["file"]: line["sha256"] for line in lines}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
