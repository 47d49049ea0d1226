"""`doit gc`: take what is old out of the local store, and sweep what killed builds left behind."""

import contextlib
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from doit.cmdparse import CmdParseError

from scripts.engine.build.commit import put_back, scratch_of
from scripts.engine.commands.graph_command import GraphCommand, checker_of, option
from scripts.engine.run.unfinished import sweep_unfinished
from scripts.engine.session import STORE
from scripts.engine.sizes import parse_size
from scripts.engine.store.local import LocalStore, Record
from scripts.engine.store.manifest import Manifest

_DAY_S = 86400.0
OPTIONS = (
    option("max_age", "30", "drop results that were not used for this many days [default: 30]"),
    option(
        "max_size",
        "",
        "then drop the least recently used ones until the store is this small, as 20GiB",
    ),
    option("dry_run", False, "say what would go; remove nothing", short="n"),
)
Records = dict[str, tuple[Record, Manifest | None]]


def choose(records: Records, kept: set[str], oldest: float, max_size: int | None) -> set[str]:
    """The keys to drop: unused since `oldest`, then the least recently used beyond `max_size`.

    `records` are in order of use; those in `kept` stay. Blobs that two results share count once.
    """
    free = [key for key in records if key not in kept]
    drop = {key for key in free if records[key][0].used < oldest or records[key][1] is None}
    if max_size is not None:
        for key in free:
            if sum(_blobs(records, drop).values()) <= max_size:
                break
            drop.add(key)
    return drop


def _blobs(records: Records, drop: set[str]) -> dict[str, int]:
    """The size of every blob, by its digest, that a result outside of `drop` has."""
    return {
        file.sha256: file.size
        for key, (_, manifest) in records.items()
        if key not in drop and manifest
        for file in manifest.files
    }


class CollectCommand(GraphCommand):
    """Drop what no lock names and nobody used for long."""

    name = "gc"
    doc_purpose = "take old results out of the local store; what a lock names stays"
    cmd_options = OPTIONS

    def execute(self, params: Any, args: list[str]) -> int:
        """Read the options that doit does not know the types of."""
        try:
            self._oldest = time.time() - float(params["max_age"]) * _DAY_S
            self._limit = parse_size(params["max_size"]) if params["max_size"] else None
        except ValueError as error:
            raise CmdParseError(f"gc: {error}") from None
        self._dry_run = params["dry_run"]
        result: int = super().execute(params, args)
        return result

    def _execute(self) -> int:
        self.dep_manager.close()
        store = LocalStore(STORE)
        records = {record.name: (record, _manifest(store, record)) for record in store.records()}
        drop = choose(records, self._locked_keys(), self._oldest, self._limit)
        named = _blobs(records, drop)
        blobs = [blob for blob in store.blobs() if blob.name not in named]
        if not self._dry_run:
            for key in drop:
                store.record(key).unlink(missing_ok=True)
            for blob in blobs:
                store.drop(blob.name)
            sweep(Path(target) for task in self.task_list for target in task.targets)
            sweep_unfinished(self._oldest)
        freed = sum(blob.size for blob in blobs)
        verb = "would go" if self._dry_run else "went"
        self.outstream.write(
            f"{len(drop)} results and {len(blobs)} files ({freed / 1e6:,.1f} MB) {verb}, "
            f"{len(records) - len(drop)} results stay.\n"
        )
        return 0

    def _locked_keys(self) -> set[str]:
        checkers = [checker_of(task) for task in self.task_list]
        locks = {one.lock.path: one.lock for one in checkers if one and one.lock}
        return {entry["key"] for lock in locks.values() for entry in lock.entries().values()}


def sweep(targets: Iterable[Path]) -> None:
    """Remove the scratch of processes that are gone, where `targets` are built."""
    for target in targets:
        put_back(target)
        room = scratch_of(target).parent
        for scratch in room.glob("*"):
            if not Path("/proc", scratch.name).exists():
                shutil.rmtree(scratch, ignore_errors=True)
        for folder in (room, room.parent):
            with contextlib.suppress(OSError):
                folder.rmdir()


def _manifest(store: LocalStore, record: Record) -> Manifest | None:
    try:
        return Manifest.from_json(store.record(record.name).read_text())
    except (OSError, ValueError, KeyError, TypeError):
        return None
