"""Is a target what its action makes? The one answer that `doit`, `plan`, `why` and forecasts give.

It compares the record beside the manifest with the action's key and with the files' sizes and
times. It reads no weights: where a file's stand differs, `perform` hashes it and decides.
"""

from dataclasses import dataclass
from enum import Enum, auto

from scripts.engine.build.action import Action, key_of
from scripts.engine.build.differences import changes
from scripts.engine.build.record import read_both
from scripts.engine.store.lock import LockFile
from scripts.engine.store.manifest import fingerprint


class Kind(Enum):
    """What a reason is about."""

    NEVER_BUILT = auto()
    INPUT_MISSING = auto()
    OTHER_KEY = auto()
    DAMAGED = auto()
    TOUCHED = auto()
    UNSETTLED = auto()
    LOCK = auto()
    COPY = auto()


@dataclass(frozen=True)
class Reason:
    """Why a task is to run: its kind, and a text for people."""

    kind: Kind
    text: str

    def __str__(self) -> str:
        return self.text


def status(action: Action, lock: LockFile | None = None) -> tuple[Reason, ...]:
    """Why the target of `action` is to be made, or to be looked at; empty where it is up to date.

    TOUCHED alone: it was modified since it was built, perhaps with the same bytes. LOCK alone: it
    is as built, and `lock` says something else.
    """
    target, both = action.target, read_both(action.target)
    if both is None:
        text = "it was never built here, or its last build did not end"
        return (Reason(Kind.NEVER_BUILT, text),)
    record, manifest = both
    try:
        parts = action.parts()
    except FileNotFoundError:
        return (Reason(Kind.INPUT_MISSING, "an input is not built yet"),)
    key, reasons = key_of(parts), list[Reason]()
    if key != record.key:
        reasons += [Reason(Kind.OTHER_KEY, str(one)) for one in changes(record.parts, parts)]
    files = fingerprint(target, manifest)
    if files is None:
        text = f"{target} is missing or not what its manifest says"
        reasons.append(Reason(Kind.DAMAGED, text))
    elif files != record.files:
        reasons.append(Reason(Kind.TOUCHED, f"{target} was modified since it was built"))
    elif not action.stage.is_settled(target):
        reasons.append(Reason(Kind.UNSETTLED, f"{target} says that it could not be done"))
    if lock is not None and not reasons and not lock.matches(target, key, manifest):
        reasons.append(Reason(Kind.LOCK, f"{lock.path} does not say what {target} is"))
    return tuple(reasons)
