"""What was done to make a target, beside its manifest: the action key, its parts, the cost.

It is the one truth of what is built from what. doit's own state may be lost at any time.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from scripts.engine.store.files import write_atomically
from scripts.engine.store.manifest import (
    Manifest,
    fingerprint,
    make_manifest,
    manifest_path,
    read_manifest,
    read_small,
)


@dataclass(frozen=True)
class Cost:
    """What a stage took: seconds of wall time, and the most bytes that were its own.

    Both are 0 where the result came out of a store.
    """

    seconds: float = 0.0
    memory: int = 0


@dataclass(frozen=True)
class Built:
    """The last build of a target: its action key and the parts of that, what its stage cost, the
    SHA-256 of the manifest that this vouches for, and how its files were left, as their
    `fingerprint`."""

    key: str
    parts: dict[str, Any]
    seconds: float
    memory: int
    manifest: str
    files: list[list[object]] | None


def record_path(target: Path) -> Path:
    """Where the record of `target` lies."""
    return manifest_path(target).with_suffix(".action")


def write_record(
    target: Path, key: str, parts: Mapping[str, Any], manifest: Manifest, cost: Cost
) -> None:
    """Keep how `target` was built, and vouch for its `manifest`."""
    digest = hashlib.sha256(manifest.to_json().encode()).hexdigest()
    files = fingerprint(target)
    _write(target, Built(key, dict(parts), cost.seconds, cost.memory, digest, files))


def renew_record(target: Path, built: Built) -> None:
    """Keep how the files of `target` are now: they were touched, and are whole."""
    _write(target, replace(built, files=fingerprint(target)))


def _write(target: Path, built: Built) -> None:
    write_atomically(record_path(target), json.dumps(asdict(built), indent=1, sort_keys=True))


def read_record(target: Path) -> Built | None:
    """How `target` was last built; None where there is no record that can be read, or where it
    vouches for another manifest: a build was cut short between the two."""
    both = read_both(target)
    return None if both is None else both[0]


def read_both(target: Path) -> tuple[Built, Manifest] | None:
    """As `read_record`, with the manifest that it vouches for."""
    try:
        built = Built(**json.loads(read_small(record_path(target))))
        text = read_small(manifest_path(target))
        if hashlib.sha256(text).hexdigest() != built.manifest:
            return None
        return built, Manifest.from_json(text)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_whole(target: Path) -> bool:
    """Whether `target` is as its manifest says: every file is hashed."""
    manifest = read_manifest(target)
    if manifest is None or not target.exists():
        return False
    return target.is_dir() == (manifest.kind == "folder") and make_manifest(target) == manifest
