"""Manifests: what a finished target consists of, as deterministic JSON without timestamps.

Consumers depend on the manifest, never on the files it lists: it is small, its bytes change
only where the files' bytes do, and so an equal rebuild stops the build early.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from io import FileIO
from pathlib import Path

from scripts.errors import QuantmakeError
from scripts.hashed_file import identity

COMPANIONS = frozenset(
    {
        *("README.md", "bom.cdx.json", "provenance.intoto.json"),
        *("model.sig", "provenance.dsse.json", "Modelfile"),
    }
)
"""Pages about a target and signatures of it, no part of it: in its folder, or beside a file."""


@dataclass(frozen=True)
class Entry:
    """One file: its path relative to the target (POSIX), size in bytes, SHA-256 in hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The files of one target; a target that is a file lists itself under its own name."""

    kind: str
    files: tuple[Entry, ...]

    def to_json(self) -> str:
        """The same text for the same files, ending in a newline."""
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"

    @staticmethod
    def from_json(text: str | bytes) -> "Manifest":
        """Raises ValueError, KeyError or TypeError where `text` is not a manifest."""
        data = json.loads(text)
        return Manifest(data["kind"], tuple(Entry(**entry) for entry in data["files"]))


def companion(target: Path, name: str) -> Path:
    """Where a companion of a target lies."""
    return target / name if target.is_dir() else target.with_name(f"{target.name}.{name}")


@cache
def manifest_path(target: Path) -> Path:
    """Where the manifest of `target` lies: in `.manifests` beside it."""
    folder, name = os.path.split(target)
    return Path(f"{folder or '.'}/.manifests/{name}.json")


def files_of(target: Path) -> Iterator[Path]:
    """The files of a target, sorted by path, without companions.

    Raises QuantmakeError for a link.
    """
    if target.is_symlink():
        raise QuantmakeError(f"{target} is a symbolic link; targets are plain files and folders")
    if target.is_file():
        yield target
        return
    for folder, names, files in os.walk(target):
        names.sort()
        for name in names:
            if os.path.islink(f"{folder}/{name}"):  # noqa: PTH114 (fast)
                raise QuantmakeError(
                    f"{folder}/{name} is a symbolic link; a target holds plain files only"
                )
        for name in sorted(files):
            path = Path(folder) / name
            if name in COMPANIONS and path.parent == target:
                continue
            if path.is_symlink():
                raise QuantmakeError(f"{path} is a symbolic link; a target holds plain files only")
            yield path


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_manifest(target: Path, known: Mapping[str, str] | None = None) -> Manifest:
    """Hash every file of `target` but those whose digest is `known`, by their `identity`."""

    def digest(path: Path) -> str:
        return (known or {}).get(identity(path.stat())) or sha256_of(path)

    if target.is_file():
        return Manifest("file", (Entry(target.name, target.stat().st_size, digest(target)),))
    entries = [
        Entry(path.relative_to(target).as_posix(), path.stat().st_size, digest(path))
        for path in files_of(target)
    ]
    return Manifest("folder", tuple(sorted(entries, key=lambda entry: entry.path)))


def read_small(path: Path) -> bytes:
    """All bytes of a small file, without pathlib's detours: thousands are read for a no-op."""
    with FileIO(path) as file:
        return file.readall()


def read_manifest(target: Path) -> Manifest | None:
    """The manifest of `target`; None where there is none that can be read."""
    try:
        return Manifest.from_json(read_small(manifest_path(target)))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def paths_in(target: Path, manifest: Manifest) -> dict[str, Path]:
    """Each entry's path on disk, by its path in the manifest."""
    if manifest.kind == "file":
        return {entry.path: target for entry in manifest.files}
    return {entry.path: target / entry.path for entry in manifest.files}


def fingerprint(target: Path, manifest: Manifest | None = None) -> list[list[object]] | None:
    """Of each file its path, size, inode, and times (ns) of modification and of change, without
    reading any: the fast check. An edit that keeps size and modification time shows in the last.

    None where the target does not have exactly the files and sizes of its manifest, which is read
    where it is not given.
    """
    manifest = manifest or read_manifest(target)
    if manifest is None:
        return None
    is_folder, place = manifest.kind == "folder", os.fspath(target)
    stands: list[list[object]] = []
    for entry in manifest.files:
        try:
            status = os.stat(f"{place}/{entry.path}" if is_folder else place)  # noqa: PTH116 (fast)
        except OSError:
            return None
        if status.st_size != entry.size or not stat.S_ISREG(status.st_mode):
            return None
        times = [status.st_mtime_ns, status.st_ctime_ns]
        stands.append([entry.path, status.st_size, status.st_ino, *times])
    if is_folder and sum(1 for _ in files_of(target)) != len(stands):
        return None
    return stands
