"""Make one target: found as it was left, fetched from a store, or built; then commit by rename."""

import errno
import threading
from pathlib import Path
from typing import Protocol

from scripts.engine.build.action import Action, key_of
from scripts.engine.build.aside import drop_aside, take_back
from scripts.engine.build.commit import DIGESTS, commit, drop_scratch, fresh_scratch, put_back
from scripts.engine.build.differences import changes
from scripts.engine.build.guard import only_one
from scripts.engine.build.kept import fetch, keep, local_store, may_be_kept
from scripts.engine.build.promises import (
    refuse_drift,
    refuse_other_than_before,
    refuse_other_than_locked,
)
from scripts.engine.build.record import Cost, is_whole, read_record, renew_record, write_record
from scripts.engine.build.sources import forget_sources
from scripts.engine.build.status import Kind, status
from scripts.engine.session import session
from scripts.engine.store.lock import LockFile
from scripts.engine.store.manifest import fingerprint, make_manifest, read_manifest
from scripts.errors import MachineError, QuantmakeError
from scripts.hashed_file import known_digests

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


def perform(task: str, action: Action, lock: LockFile | None) -> None:
    """Make the target of `action`; the old target stays until the new one is complete.

    Raises Failure with a text for people; then nothing half-written is left.
    """
    target = action.target
    try:
        with only_one(target):
            put_back(target)
            parts = action.parts()
            key = key_of(parts)
            if lock is not None:
                if session.locked:
                    refuse_drift(lock, target, key, parts)
                else:
                    lock.mend()
            if session.always or not _is_there(action, lock):
                _make(task, action, key, parts, lock)
            else:
                drop_scratch(target)  # a killed run may have left it
            manifest = read_manifest(target)
            if lock is not None and manifest is not None:
                refuse_other_than_locked(lock, target, key, manifest)
                if not session.locked:
                    lock.write(target, parts, key, manifest)
    except QuantmakeError as error:
        raise Failure(str(error), error.exit_code) from None
    except OSError as error:
        raise _explain(error, target) from None


def _is_there(action: Action, lock: LockFile | None) -> bool:
    """Whether the target is what its action makes. Where its files were touched, they are hashed;
    with the same bytes, the record learns how they are now."""
    kinds = {reason.kind for reason in status(action, lock)}
    if not kinds <= {Kind.TOUCHED, Kind.LOCK}:
        return False
    if Kind.TOUCHED in kinds:
        record = read_record(action.target)
        if record is None or not is_whole(action.target):
            return False
        renew_record(action.target, record)
    return action.stage.is_settled(action.target)


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
            and (take_back(action.target, key, out) or fetch(action, key, out))
        )
        if not fetched:
            _look_before_the_first()
            before = _stand_of(action)
            cost = session.executor.build(task, action, key, out)
            _refuse_edited_inputs(task, action, parts, before)
        manifest = make_manifest(out, known_digests(scratch / DIGESTS))
        if lock is not None:
            refuse_other_than_locked(lock, action.target, key, manifest)
        if not fetched:
            refuse_other_than_before(action, key, manifest)
        commit(out, action.target, manifest)
        drop_scratch(action.target)
        write_record(action.target, key, parts, manifest, cost)
        drop_aside(action.target)
    finally:
        drop_scratch(action.target)
    if may_be_kept(action):
        keep(local_store(action), key, manifest, action.target)
        record = read_record(action.target)
        if record is not None and action.stage.linkable:
            renew_record(action.target, record)  # a link changes its file's ctime


def _look_before_the_first() -> None:
    """Once a run, what is to come is compared with the machine. Raises MachineError."""
    with _looking:
        look = session.before_building
        if look is not None:
            look()
            session.before_building = None  # with --continue the next task fails the same way


def _stand_of(action: Action) -> dict[str, object]:
    """Sizes and modification times of all input files, to notice an edit."""
    return {name: fingerprint(path) for name, path in action.inputs.items()}


def _refuse_edited_inputs(
    task: str, action: Action, parts: dict[str, object], before: dict[str, object]
) -> None:
    forget_sources()
    changed = [change.what for change in changes(parts, action.parts())]
    now = _stand_of(action)
    changed += [
        f"input {name} ({action.inputs[name]})"
        for name, stand in before.items()
        if stand != now[name] or stand is None
    ]
    if changed:
        raise QuantmakeError(
            f"{task}: {', '.join(changed)} changed while the task ran, so its result "
            "was thrown away. Run doit again."
        )


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
