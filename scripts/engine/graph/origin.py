"""What a target was made from, as a target of its own, so that stages can read it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scripts.engine.build.commit import commit, drop_scratch, fresh_scratch
from scripts.engine.build.guard import only_one
from scripts.engine.build.record import read_record
from scripts.engine.store.manifest import fingerprint, manifest_path, read_manifest


def origin(task: str, out: Path, of: Path) -> dict[str, Any]:
    """A task that keeps `out`, JSON: the action key of `of` and its parts, its kind, its files."""
    basename, _, name = task.partition(":")

    def text() -> str:
        built, manifest = read_record(of), read_manifest(of)
        found = {
            "key": built.key if built else "",
            "parts": built.parts if built else {},
            **(asdict(manifest) if manifest else {}),
        }
        return json.dumps(found, indent=1, sort_keys=True) + "\n"

    def keep() -> None:
        with only_one(out):
            fresh = fresh_scratch(out) / out.name
            try:
                fresh.write_text(text())
                commit(fresh, out)
            finally:
                drop_scratch(out)

    def is_current() -> bool:
        return fingerprint(out) is not None and out.read_text() == text()

    return {
        "basename": basename,
        "name": name,
        "doc": f"Keep what {of} was made from",
        "actions": [keep],
        "file_dep": [str(manifest_path(of))],
        "targets": [str(out), str(manifest_path(out))],
        "uptodate": [is_current],
    }
