"""Targets that may not be shipped: kept in `.rejected` beside their place, with their manifests.

A build of the same action takes one back without its work, for instance once it is allowed again.
"""

import contextlib
from pathlib import Path
from typing import Protocol

from scripts.engine.build.guard import only_one
from scripts.engine.build.record import is_whole, read_record, record_path
from scripts.engine.store.files import remove
from scripts.engine.store.manifest import COMPANIONS, manifest_path

_FOLDER = ".rejected"


class Judge(Protocol):
    """Decides from a target, `verdict`, which others may be shipped."""

    verdict: Path

    def rejected(self) -> set[Path]:
        """The targets that may not be shipped; none where there is no verdict yet."""

    def complaint(self) -> str:
        """Why the build has failed, for people; empty where it has not."""


def aside_of(target: Path) -> Path:
    """Where `target` is kept once it is rejected."""
    return target.parent / _FOLDER / target.name


def companion(target: Path, name: str) -> Path:
    """Where a page about a target that is a file lies: beside it."""
    return target.with_name(f"{target.name}.{name}")


def set_aside(target: Path) -> None:
    """Move a target, its manifest and its record out of the way of whoever ships its folder."""
    with only_one(target):
        if not target.exists():
            return
        kept = aside_of(target)
        drop_aside(target)
        manifest_path(kept).parent.mkdir(parents=True, exist_ok=True)
        target.rename(kept)
        for name in COMPANIONS:
            if companion(target, name).exists():
                companion(target, name).rename(companion(kept, name))
        for place in (manifest_path, record_path):
            if place(target).exists():
                place(target).rename(place(kept))


def drop_aside(target: Path) -> None:
    """Remove what is kept of a rejected target: a new one was built."""
    kept = aside_of(target)
    beside = [companion(kept, name) for name in COMPANIONS]
    for path in (manifest_path(kept), record_path(kept), kept, *beside):
        remove(path)
    for folder in (manifest_path(kept).parent, kept.parent):
        with contextlib.suppress(OSError):
            folder.rmdir()


def take_back(target: Path, key: str, out: Path) -> bool:
    """Move what is kept of `target` to `out`, where the action `key` made it and it is whole."""
    kept = aside_of(target)
    record = read_record(kept)
    if record is None or record.key != key or not is_whole(kept):
        return False
    kept.rename(out)
    return True
