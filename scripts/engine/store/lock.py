"""Lock files: what was built from what, committed beside the recipe, so that drift shows.

An entry has the action key, all of its parts (options, inputs' digests, sources, versions of
packages) and the digests of the outputs. It is written as each task ends.
"""

import json
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scripts.engine import console
from scripts.engine.store.files import write_atomically
from scripts.engine.store.manifest import Entry, Manifest

_writing = threading.Lock()


class LockFile:
    """`recipes/NAME.lock`: JSON, sorted, an entry for each target."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> dict[str, Any]:
        """All entries by target; a file that can't be read is put aside and named."""
        try:
            found = json.loads(self.path.read_text())
            targets: dict[str, Any] = found["targets"]
            if not all({"key", "parts", "outputs"} <= set(entry) for entry in targets.values()):
                raise KeyError("key")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            aside = self.path.with_name(f"{self.path.name}.corrupt")
            self.path.replace(aside)
            console.current().say(
                f"{self.path} can't be read ({error}); it was put aside as {aside} and is written "
                "anew from what is built. Compare the two before you commit it."
            )
            return {}
        return targets

    def entry(self, target: Path) -> dict[str, Any] | None:
        """The entry of one target."""
        found: dict[str, Any] | None = self.entries().get(target.as_posix())
        return found

    def matches(self, target: Path, key: str, manifest: Manifest) -> bool:
        """Whether the entry says that the action `key` made exactly `manifest`."""
        found = self.entry(target)
        return found is not None and found["key"] == key and found["outputs"] == outputs(manifest)

    def write(self, target: Path, parts: Mapping[str, Any], key: str, manifest: Manifest) -> None:
        """Put in what a target was made from and what came out."""
        with _writing:
            targets = self.entries()
            targets[target.as_posix()] = {
                "key": key,
                "parts": dict(parts),
                "outputs": outputs(manifest),
            }
            self._write(targets)

    def forget_others(self, targets: set[str]) -> None:
        """Take out the entries of targets that the recipe no longer names."""
        with _writing:
            found = self.entries()
            kept = {name: entry for name, entry in found.items() if name in targets}
            if kept != found:
                self._write(kept)

    def _write(self, targets: dict[str, Any]) -> None:
        text = json.dumps({"version": 1, "targets": targets}, indent=1, sort_keys=True)
        write_atomically(self.path, text + "\n")


def files_in(entry: Mapping[str, Any]) -> list[Entry]:
    """The files that an entry of a lock names."""
    return [Entry(**file) for file in entry["outputs"]]


def outputs(manifest: Manifest) -> list[dict[str, Any]]:
    """The files of a manifest as data."""
    return [asdict(entry) for entry in manifest.files]
