"""What was done to make a target, beside its manifest: the action key, its parts, the cost.

doit's state says the same and is faster to read; this outlives it. A lost or corrupt state
file costs one hash of each target, not its work.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scripts.engine.build.commit import write_atomically
from scripts.engine.store.manifest import make_manifest, manifest_path, read_manifest


@dataclass(frozen=True)
class Cost:
    """What a stage took: seconds of wall time, and the most bytes that were its own.

    Both are 0 where the result came out of a store.
    """

    seconds: float = 0.0
    memory: int = 0


@dataclass(frozen=True)
class Built:
    """The last build of a target, with what its stage cost."""

    key: str
    parts: dict[str, Any]
    seconds: float
    memory: int


def record_path(target: Path) -> Path:
    """Where the record of `target` lies."""
    return manifest_path(target).with_suffix(".action")


def write_record(target: Path, built: Built) -> None:
    """Keep how `target` was built."""
    write_atomically(record_path(target), json.dumps(asdict(built), indent=1, sort_keys=True))


def read_record(target: Path) -> Built | None:
    """How `target` was last built; None where there is no record that can be read."""
    try:
        return Built(**json.loads(record_path(target).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def is_built(target: Path, key: str) -> bool:
    """Whether `target` is what the action `key` made: every file is hashed."""
    built, manifest = read_record(target), read_manifest(target)
    if built is None or manifest is None or built.key != key or not target.exists():
        return False
    return target.is_dir() == (manifest.kind == "folder") and make_manifest(target) == manifest
