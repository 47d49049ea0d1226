"""The local store: `cas/<sha256>` holds blobs, `ac/<action key>` the manifest that an action made.

What comes out of it is hashed again: a hard link may have been written to since, and disks err.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from scripts.engine.store.files import write_atomically
from scripts.engine.store.links import link_or_copy
from scripts.engine.store.manifest import Manifest, paths_in, sha256_of


class StoreError(Exception):
    """A store could not be asked, or what it gave is not what was asked for."""


@dataclass(frozen=True)
class Record:
    """The name of an action record or a blob, its size in bytes and the time of its last use."""

    name: str
    size: int
    used: float


class Store(Protocol):
    """Where results of actions are kept; every method may raise StoreError or OSError."""

    name: str

    def manifest(self, key: str) -> Manifest | None:
        """What the action `key` made; None where the store does not know it."""

    def fetch(self, sha256: str, place: Path) -> None:
        """Write a blob to `place`; the caller hashes it."""

    def put_blobs(self, manifest: Manifest, target: Path) -> int:
        """Keep the files of `target`; return the number of bytes that were not there yet."""

    def put_record(self, key: str, manifest: Manifest) -> None:
        """Say what the action `key` made; its blobs are there already."""

    def drop(self, sha256: str) -> None:
        """Remove a blob that is not what its name says."""


def checkout(store: Store, key: str, out: Path) -> Manifest | None:
    """Write what the action `key` made to `out`, every file hashed; None where it is not kept.

    Raises StoreError where a blob is missing or another one; the blob is dropped then.
    """
    manifest = store.manifest(key)
    if manifest is not None:
        checkout_manifest(store, manifest, out)
    return manifest


def checkout_manifest(store: Store, manifest: Manifest, out: Path) -> None:
    """Write the files of `manifest` to `out`, every one hashed; raises StoreError."""
    shutil.rmtree(out, ignore_errors=True)
    if manifest.kind == "folder":
        out.mkdir(parents=True)
    for entry in manifest.files:
        place = paths_in(out, manifest)[entry.path]
        if not place.resolve().is_relative_to(out.parent.resolve()):
            raise StoreError(f"its record names the path {entry.path!r}, outside of its folder")
        place.parent.mkdir(parents=True, exist_ok=True)
        store.fetch(entry.sha256, place)
        if place.stat().st_size != entry.size or sha256_of(place) != entry.sha256:
            place.unlink()
            store.drop(entry.sha256)
            raise StoreError(f"its blob {entry.sha256[:12]}… holds other bytes; it was dropped")


class LocalStore:
    """A folder on this machine, on the file system of the targets where links are to save room.

    `hard_links` says whether files may be linked where the file system can't share extents.
    """

    def __init__(self, folder: Path, *, hard_links: bool = False) -> None:
        self.folder = folder
        self._hard_links = hard_links
        self.name = f"the store {folder}"

    def blob(self, sha256: str) -> Path:
        """Where a blob lies."""
        return self.folder / "cas" / sha256

    def record(self, key: str) -> Path:
        """Where an action's record lies."""
        return self.folder / "ac" / key

    def manifest(self, key: str) -> Manifest | None:
        """As `Store.manifest`; a record that can't be read is dropped."""
        path = self.record(key)
        try:
            found = Manifest.from_json(path.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            path.unlink(missing_ok=True)
            raise StoreError(f"its record of {key[:12]}… can't be read; it was dropped") from None
        os.utime(path)
        return found

    def fetch(self, sha256: str, place: Path) -> None:
        """As `Store.fetch`."""
        try:
            link_or_copy(self.blob(sha256), place, hard_links=self._hard_links)
        except FileNotFoundError:
            raise StoreError(f"its blob {sha256[:12]}… is missing") from None

    def put_blobs(self, manifest: Manifest, target: Path) -> int:
        """As `Store.put_blobs`."""
        sent = 0
        for entry in manifest.files:
            blob = self.blob(entry.sha256)
            if blob.is_file() and blob.stat().st_size == entry.size:
                continue
            blob.parent.mkdir(parents=True, exist_ok=True)
            fresh = blob.with_name(f".{entry.sha256}.{os.getpid()}")
            fresh.unlink(missing_ok=True)
            source = paths_in(target, manifest)[entry.path]
            link_or_copy(source, fresh, hard_links=self._hard_links)
            fresh.rename(blob)
            sent += entry.size
        return sent

    def put_record(self, key: str, manifest: Manifest) -> None:
        """As `Store.put_record`."""
        write_atomically(self.record(key), manifest.to_json())

    def drop(self, sha256: str) -> None:
        """As `Store.drop`."""
        self.blob(sha256).unlink(missing_ok=True)

    def records(self) -> list[Record]:
        """Every action record, the least recently used first."""
        return sorted(_entries(self.folder / "ac"), key=lambda record: record.used)

    def blobs(self) -> list[Record]:
        """Every blob."""
        return list(_entries(self.folder / "cas"))


def _entries(folder: Path) -> Iterator[Record]:
    for path in folder.iterdir() if folder.is_dir() else ():
        status = path.stat()
        yield Record(path.name, status.st_size, status.st_mtime)
