"""Lock files: what was built from what, committed beside the recipe, so that drift shows.

An entry has the action key, all of its parts (options, inputs' digests, sources, versions of
packages) and the digests of the outputs. It is written as each task ends.
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scripts.engine import console
from scripts.engine.store.files import exclusive, write_atomically
from scripts.engine.store.manifest import Entry, Manifest
from scripts.errors import QuantmakeError

_CONFLICT = ("<<<<<<<", "=======", ">>>>>>>")


class UnreadableLock(QuantmakeError):
    """The file is no lock."""


class UnresolvedLock(UnreadableLock):
    """The file has two sides of a merge in it."""


class LockFile:
    """`recipes/NAME.lock`: JSON, sorted, an entry for each target."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> dict[str, Any]:
        """All entries by target. Raises UnreadableLock; nothing is changed."""
        try:
            text = self.path.read_text()
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise UnreadableLock(f"{self.path} can't be read ({error})") from None
        for number, line in enumerate(text.splitlines(), start=1):
            if line.startswith(_CONFLICT):
                raise UnresolvedLock(
                    f"{self.path}:{number}: a merge was left unresolved. Take one side, or remove "
                    "both and let doit write what is built; then run doit again."
                )
        try:
            targets: dict[str, Any] = json.loads(text)["targets"]
            if not all({"key", "parts", "outputs"} <= set(entry) for entry in targets.values()):
                raise KeyError("key")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UnreadableLock(
                f"{self.path} can't be read ({error}). `doit` puts it aside and writes it anew."
            ) from None
        return targets

    def mend(self) -> None:
        """Put a file that can't be read aside, and say so. Raises UnresolvedLock."""
        try:
            self.entries()
        except UnresolvedLock:
            raise
        except UnreadableLock as error:
            aside = self.path.with_name(f"{self.path.name}.corrupt")
            with exclusive(self.path), contextlib.suppress(FileNotFoundError):
                self.path.replace(aside)
            console.current().say(
                f"{error} It is {aside} now. Compare the two before you commit the new one."
            )

    def entry(self, target: Path) -> dict[str, Any] | None:
        """The entry of one target. Raises UnreadableLock."""
        entry: dict[str, Any] | None = self.entries().get(target.as_posix())
        return entry

    def matches(self, target: Path, key: str, manifest: Manifest) -> bool:
        """Whether the entry says that the action `key` made exactly `manifest`."""
        try:
            entry = self.entry(target)
        except UnreadableLock:
            return False
        return entry is not None and entry["key"] == key and entry["outputs"] == outputs(manifest)

    def write(self, target: Path, parts: Mapping[str, Any], key: str, manifest: Manifest) -> None:
        """Put in what a target was made from and what came out."""
        with exclusive(self.path):
            targets = self.entries()
            targets[target.as_posix()] = {
                "key": key,
                "parts": dict(parts),
                "outputs": outputs(manifest),
            }
            self._write(targets)

    def forget_others(self, targets: set[str]) -> None:
        """Take out the entries of targets that the recipe no longer names."""
        with exclusive(self.path):
            entries = self.entries()
            kept = {name: entry for name, entry in entries.items() if name in targets}
            if kept != entries:
                self._write(kept)

    def _write(self, targets: dict[str, Any]) -> None:
        write_atomically(self.path, text_of(targets))


def text_of(targets: Mapping[str, Any]) -> str:
    """A lock of these entries by target, as it stands in a file."""
    return json.dumps({"version": 1, "targets": targets}, indent=1, sort_keys=True) + "\n"


def files_in(entry: Mapping[str, Any]) -> list[Entry]:
    """The files that an entry of a lock names."""
    return [Entry(**file) for file in entry["outputs"]]


def outputs(manifest: Manifest) -> list[dict[str, Any]]:
    """The files of a manifest as data."""
    return [asdict(entry) for entry in manifest.files]
