"""Make one target: found as it was left, fetched from a store, or built; then commit by rename."""

import errno
import shutil
import threading
from pathlib import Path
from typing import Protocol

from scripts.engine import console
from scripts.engine.build.action import Action, key_of
from scripts.engine.build.aside import drop_aside, take_back
from scripts.engine.build.commit import DIGESTS, commit, drop_scratch, fresh_scratch
from scripts.engine.build.guard import only_one
from scripts.engine.build.record import Built, Cost, is_built, write_record
from scripts.engine.build.sources import forget_sources
from scripts.engine.session import STORE, remote_place, session
from scripts.engine.store.local import LocalStore, Store, StoreError, checkout
from scripts.engine.store.lock import LockFile, outputs
from scripts.engine.store.manifest import Manifest, fingerprint, make_manifest
from scripts.errors import MachineError, QuantmakeError
from scripts.hashed_file import known_digests

_silent: set[str] = set()
_looking = threading.Lock()


class Failure(Exception):
    """Why a task failed, for people, and the exit code that it asks for."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.text, self.exit_code = text, exit_code


class Executor(Protocol):
    """Where stages run: in processes of this machine, or on a cluster.

    `width` is how many run at one time where `-n` does not say; 0 is one, without threads.
    """

    width: int

    def close(self) -> None:
        """Let go of what is open."""

    def build(self, task: str, action: Action, key: str, out: Path) -> Cost:
        """Run the stage of `action` so that `out` holds what it made; say what it cost.

        Raises QuantmakeError or Failure with a text for people.
        """


def local_store(action: Action) -> LocalStore:
    """This machine's store, as the files of this action may be kept in it."""
    return LocalStore(STORE, hard_links=action.stage.linkable)


def stores(action: Action) -> list[Store]:
    """The stores in the order in which they are asked."""
    from scripts.engine.store.remote import RemoteStore

    place = remote_place()
    return [local_store(action), *([RemoteStore(place)] if place else [])]


def warn(store: Store, error: Exception) -> None:
    """Say once what is wrong with a store; the build goes on without it."""
    text = f"warning: {store.name}: {error}. Going on without it."
    if text not in _silent:
        _silent.add(text)
        console.current().say(text)


def perform(task: str, action: Action, lock: LockFile | None) -> None:
    """Make the target of `action`; the old target stays until the new one is complete.

    Raises Failure with a text for people; then nothing half-written is left.
    """
    try:
        with only_one(action.target):
            parts = action.parts()
            key = key_of(parts)
            if session.locked and lock is not None:
                refuse_drift(lock, action.target, key, parts)
            built = not session.always and is_built(action.target, key)
            if not built or not action.stage.is_settled(action.target):
                _make(task, action, key, parts, lock)
            else:
                drop_scratch(action.target)  # a killed run may have left it
            if lock is not None and not session.locked:
                lock.write(action.target, parts, key, make_manifest_of(action.target))
    except QuantmakeError as error:
        raise Failure(str(error), error.exit_code) from None
    except OSError as error:
        raise _explain(error, action.target) from None


def make_manifest_of(target: Path) -> Manifest:
    """The manifest that was just committed."""
    from scripts.engine.store.manifest import read_manifest

    return read_manifest(target) or make_manifest(target)


def _make(
    task: str, action: Action, key: str, parts: dict[str, object], lock: LockFile | None
) -> None:
    """Fetch or build in scratch, look at it, commit it, keep it."""
    scratch = fresh_scratch(action.target)
    try:
        out = scratch / action.target.name
        cost = Cost()
        fetched = (
            not session.always
            and action.stage.reproducible
            and (take_back(action.target, key, out) or _fetch(action, key, out))
        )
        if not fetched:
            _look_before_the_first()
            before = _stand_of(action)
            cost = session.executor.build(task, action, key, out)
            _refuse_edited_inputs(task, action, parts, before)
        known = known_digests(scratch / DIGESTS)
        if session.locked and lock is not None:
            _refuse_other_bytes(lock, action.target, make_manifest(out, known))
        manifest = commit(out, action.target, known)
        write_record(action.target, Built(key, dict(parts), cost.seconds, cost.memory))
        drop_aside(action.target)
    finally:
        drop_scratch(action.target)
    if action.stage.reproducible and action.stage.is_settled(action.target):
        keep(local_store(action), key, manifest, action.target)


def _look_before_the_first() -> None:
    """Once a run, what is to come is compared with the machine. Raises MachineError."""
    with _looking:
        look = session.before_building
        if look is not None:
            look()
            session.before_building = None  # with --continue the next task fails the same way


def keep(store: Store, key: str, manifest: Manifest, target: Path) -> int:
    """Put a result into a store; a store that fails costs a warning. Returns the bytes sent."""
    try:
        sent = store.put_blobs(manifest, target)
        store.put_record(key, manifest)
    except (StoreError, OSError) as error:
        warn(store, error)
        return 0
    return sent


def _fetch(action: Action, key: str, out: Path) -> bool:
    """Take the result of the action `key` out of the first store that has it."""
    for store in stores(action):
        try:
            if checkout(store, key, out) is not None:
                return True
        except (StoreError, OSError) as error:
            warn(store, error)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
        if out.is_dir():
            shutil.rmtree(out)
        out.unlink(missing_ok=True)
    return False


def refuse_drift(lock: LockFile, target: Path, key: str, parts: dict[str, object]) -> None:
    """Raise QuantmakeError where building `target` would not reproduce its lock entry."""
    from scripts.engine.commands.explain import changes

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


def _refuse_other_bytes(lock: LockFile, target: Path, manifest: Manifest) -> None:
    entry = lock.entry(target)
    if entry is None or entry["outputs"] == outputs(manifest):
        return
    old = {file["path"]: file["sha256"] for file in entry["outputs"]}
    new = {file.path: file.sha256 for file in manifest.files}
    other = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    lines = "\n".join(f"  {name}: {old.get(name)} → {new.get(name)}" for name in other)
    raise QuantmakeError(
        f"{target} was built from what {lock.path} names, and came out with other bytes:\n{lines}\n"
        "It was thrown away. The machine or a package differs in a way that the lock can't see."
    )


def _stand_of(action: Action) -> dict[str, object]:
    """Sizes and modification times of all input files, to notice an edit."""
    return {name: fingerprint(path) for name, path in action.inputs.items()}


def _refuse_edited_inputs(
    task: str, action: Action, parts: dict[str, object], before: dict[str, object]
) -> None:
    forget_sources()
    after = action.parts()
    changed = [str(change) for kind in parts for change in _named(kind, parts[kind], after[kind])]
    now = _stand_of(action)
    changed += [
        f"input: {name} ({action.inputs[name]})"
        for name, stand in before.items()
        if stand != now[name] or stand is None
    ]
    if changed:
        raise QuantmakeError(
            f"{task}: {', '.join(changed)} changed while the task ran, so its result "
            "was thrown away. Run doit again."
        )


def _named(kind: str, old: object, new: object) -> list[str]:
    if old == new:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(set(old) | set(new))
        return [f"{kind}: {key}" for key in keys if old.get(key) != new.get(key)]
    return [kind]


def _explain(error: OSError, target: Path) -> Failure:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return Failure(
            f"no room left on the disk to build {target}. Free some space (`cache/` may be "
            "deleted at any time) and run doit again.",
            MachineError.exit_code,
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Failure(
            f"{error.filename or target} can't be written ({error.strerror}). Make its folder "
            "writable for you and run doit again.",
            MachineError.exit_code,
        )
    return Failure(f"{target}: {error}", 1)
