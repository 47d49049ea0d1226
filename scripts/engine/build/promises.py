"""Same key, same bytes: what a lock, a record or a store promises is kept, or the build fails."""

from collections.abc import Iterator
from pathlib import Path

from scripts.engine.build.action import Action
from scripts.engine.build.differences import changes, other_files
from scripts.engine.build.kept import local_store
from scripts.engine.build.record import read_record, record_path
from scripts.engine.store.local import StoreError
from scripts.engine.store.lock import LockFile, files_in
from scripts.engine.store.manifest import Manifest, read_manifest
from scripts.errors import QuantmakeError


def refuse_drift(lock: LockFile, target: Path, key: str, parts: dict[str, object]) -> None:
    """Raise QuantmakeError where building `target` would not reproduce its lock entry."""
    entry = lock.entry(target)
    if entry is None:
        raise QuantmakeError(
            f"{lock.path} has no entry for {target}, and --locked builds only what the lock "
            "names. Run doit without --locked and commit the lock."
        )
    if entry["key"] != key:
        drift = "\n".join(f"  {change}" for change in changes(entry["parts"], parts))
        raise QuantmakeError(
            f"{target} would not reproduce {lock.path}. What drifted, from the lock to here:\n"
            f"{drift}\nGo back to what the lock says, or run doit without --locked and commit "
            "the lock."
        )


def refuse_other_than_locked(lock: LockFile, target: Path, key: str, manifest: Manifest) -> None:
    """Raise QuantmakeError where the lock names other bytes for the same key."""
    entry = lock.entry(target)
    if entry is None or entry["key"] != key:
        return
    other = other_files(files_in(entry), manifest.files)
    if other:
        lines = "\n".join(f"  {one}" for one in other)
        raise QuantmakeError(
            f"{target} is made from what {lock.path} names, and came out with other bytes:\n"
            f"{lines}\nIt is not taken. The machine or a package differs in a way that the key "
            "can't see, or a store gave what was never built. If these are the bytes that you "
            f"want, take the entry out of {lock.path}."
        )


def refuse_other_than_before(action: Action, key: str, manifest: Manifest) -> None:
    """Raise QuantmakeError where the same action made other bytes before, here."""
    for place, known in _made_before(action, key):
        other = other_files(known.files, manifest.files)
        if other:
            lines = "\n".join(f"  {one}" for one in other)
            raise QuantmakeError(
                f"{action.target} was built again from the same, and came out with other bytes:\n"
                f"{lines}\nThe new ones were thrown away: a stage that gives other bytes each "
                f"time can't be reproduced. If you want them all the same, remove {place}."
            )


def _made_before(action: Action, key: str) -> Iterator[tuple[Path, Manifest]]:
    """The manifests that this machine has of the same action, and where it says so."""
    target, store = action.target, local_store(action)
    if not action.stage.reproducible:
        return
    record, manifest = read_record(target), read_manifest(target)
    if record and record.key == key and manifest and action.stage.is_settled(target):
        yield record_path(target), manifest
    try:
        stored = store.manifest(key)
    except (StoreError, OSError):
        return
    if stored is not None:
        yield store.record(key), stored
