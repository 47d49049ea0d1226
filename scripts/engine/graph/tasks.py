"""doit tasks: `build` makes a target, `listing` its digests, `publish` a copy of it elsewhere."""

import inspect
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from doit.exceptions import TaskFailed

from scripts.engine.build.action import Action
from scripts.engine.build.aside import Judge, set_aside
from scripts.engine.build.perform import Failure, perform
from scripts.engine.build.status import Reason, status
from scripts.engine.graph.lost import less, lose
from scripts.engine.run.forecasts import know
from scripts.engine.session import session
from scripts.engine.store.files import write_atomically
from scripts.engine.store.lock import LockFile
from scripts.engine.store.manifest import manifest_path, read_manifest, sha256_of
from scripts.errors import QuantmakeError
from scripts.stage import Stage

TaskDict = dict[str, Any]

exit_codes: list[int] = []
"""The exit codes that this run's failed tasks ask for."""


def _named(task: str, doc: str) -> TaskDict:
    basename, _, name = task.partition(":")
    return {"basename": basename, **({"name": name} if name else {}), "doc": doc}


def _or_task_failed(
    work: Callable[[], None], target: Path | None = None
) -> Callable[[], TaskFailed | None]:
    def action() -> TaskFailed | None:
        try:
            work()
        except Failure as failure:
            exit_codes.append(failure.exit_code)
            if target is not None:
                lose(target, failure.text)
            return TaskFailed(failure.text)
        return None

    return action


class UpToDate:
    """doit's question whether a target is up to date; it knows the action, for the commands."""

    # doit asks every callable for its signature, which costs more than the rest of the check.
    __signature__ = inspect.Signature(
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in ("task", "values")]
    )

    def __init__(self, action: Action, lock: LockFile | None) -> None:
        self.action, self.lock = action, lock

    def __call__(self, task: Any, values: dict[str, Any]) -> bool:
        """doit calls this with the task and what it saved of it."""
        return not self.reasons()

    def reasons(self) -> tuple[Reason, ...]:
        """Why the task is to run; empty where it need not."""
        return status(self.action, self.lock)


def build(
    task: str, target: Path, stage: Stage, *, lock: LockFile | None = None, **inputs: Path
) -> TaskDict:
    """A task that makes `target` from `inputs`, the targets of other tasks, when it is stale.

    What it made, and from what, is kept in `lock` where one is given. Inputs that could not be made
    in this run are left out, where the stage does without them.
    """
    action = Action(*less(stage, inputs), target)
    know(task, action)
    return {
        **_named(task, stage.describe()),
        "actions": [_or_task_failed(lambda: perform(task, action, lock), target)],
        "file_dep": [str(manifest_path(path)) for path in action.inputs.values()],
        "targets": [str(target), str(manifest_path(target))],
        "uptodate": [UpToDate(action, lock)],
        "io": {"capture": False},
    }


def listing(
    task: str, sums: Path, targets: list[Path], lock: LockFile, judge: Judge | None = None
) -> TaskDict:
    """A task that keeps `sums`, in the format of sha256sum(1), for all files of `targets`.

    Those that `judge` rejects are left out. It takes entries of other targets out of `lock`.
    """
    names = {target.as_posix() for target in targets}

    def text() -> str:
        lines = []
        rejected = judge.rejected() if judge else set()
        for target in targets:
            if target in rejected:
                continue
            manifest = read_manifest(target)
            for entry in manifest.files if manifest else ():
                path = target if manifest and manifest.kind == "file" else target / entry.path
                lines.append(f"{entry.sha256}  {path.relative_to(sums.parent).as_posix()}\n")
        return "".join(sorted(lines, key=lambda line: line.partition("  ")[2]))

    def keep() -> None:
        write_atomically(sums, text())
        if not session.locked:
            lock.forget_others(names)

    def is_current() -> bool:
        known = set(lock.entries()) <= names or session.locked
        return known and sums.is_file() and sums.read_text() == text()

    return {
        **_named(task, f"Keep {sums}, the digests of all files, for sha256sum -c"),
        "actions": [_or_task_failed(keep)],
        "file_dep": [
            str(manifest_path(target)) for target in (*targets, *([judge.verdict] if judge else []))
        ],
        "targets": [str(sums)],
        "uptodate": [is_current],
    }


def publish(
    task: str,
    source: Path,
    folder: Path,
    elsewhere: Mapping[str, Path | None] | None = None,
    judge: Judge | None = None,
) -> TaskDict:
    """A task that keeps a copy of all files of the target `source` in `folder`.

    Those that `elsewhere` names go to the folder that stands there, or nowhere. Then the targets
    that `judge` rejects are set aside, and the task fails where it has a complaint.
    """
    folders = elsewhere or {}

    def copies() -> dict[Path, tuple[Path, str]]:
        manifest = read_manifest(source)
        entries = manifest.files if manifest else ()
        return {
            place / entry.path: (source / entry.path, entry.sha256)
            for entry in entries
            if (place := folders.get(entry.path, folder)) is not None
        }

    def copy() -> None:
        for path, (original, _) in copies().items():
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_name(f".{path.name}.new")
            shutil.copyfile(original, fresh)
            fresh.rename(path)

    def judge_all() -> None:
        for target in sorted(judge.rejected()) if judge else ():
            set_aside(target)
        complaint = judge.complaint() if judge else ""
        if complaint:
            raise Failure(complaint, QuantmakeError.exit_code)

    def is_current() -> bool:
        return not (judge and judge.complaint()) and all(
            path.is_file() and sha256_of(path) == digest for path, (_, digest) in copies().items()
        )

    return {
        **_named(task, f"Copy {source.name} to its place in {folder}/"),
        "actions": [_or_task_failed(copy), _or_task_failed(judge_all)],
        "file_dep": [str(manifest_path(source))],
        "uptodate": [is_current],
    }
