"""Run one action: its stage in a process of its own, into scratch, then commit by rename."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

from scripts.engine import console
from scripts.engine.action import Action
from scripts.engine.commit import commit, drop_scratch, fresh_scratch
from scripts.engine.secrets import mask
from scripts.engine.sources import ROOT, forget_sources
from scripts.errors import MachineError, QuantmakeError
from scripts.progress import PIPE_VARIABLE

LOGS = Path("cache/logs")
_LINES_SHOWN = 15


class Failure(Exception):
    """Why a task failed, for people, and the exit code that it asks for."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.text, self.exit_code = text, exit_code


def log_path(task: str) -> Path:
    """The log of a task."""
    return LOGS / (task.replace("/", "_").replace(":", "-") + ".log")


def perform(task: str, action: Action) -> None:
    """Build the target of `action`; the old target stays until the new one is complete.

    Raises Failure with a text for people; then nothing half-written is left.
    """
    try:
        before = action.parts()
        scratch = fresh_scratch(action.target)
        try:
            out = scratch / action.target.name
            _run_stage(task, action, scratch, out)
            _refuse_edited_inputs(task, action, before)
            commit(out, action.target)
        finally:
            drop_scratch(action.target)
    except QuantmakeError as error:
        raise Failure(str(error), error.exit_code) from None
    except OSError as error:
        raise _explain(error, action.target) from None


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


def _refuse_edited_inputs(task: str, action: Action, before: dict[str, object]) -> None:
    forget_sources()
    after = action.parts()
    changed = [kind for kind in before if before[kind] != after[kind]]
    if changed:
        raise QuantmakeError(
            f"{task}: {_what_changed(before, after)} changed while the task ran, so its result "
            "was thrown away. Run doit again."
        )


def _what_changed(before: dict[str, object], after: dict[str, object]) -> str:
    names = []
    for kind, old in before.items():
        new = after[kind]
        if isinstance(old, dict) and isinstance(new, dict):
            keys = sorted(set(old) | set(new))
            names += [f"{kind}: {key}" for key in keys if old.get(key) != new.get(key)]
        elif old != new:
            names.append(kind)
    return ", ".join(names)


def _environment(progress_pipe: int) -> dict[str, str]:
    """The child's environment: this checkout's `scripts` first, and nothing that varies bytes."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]),
        ),
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        PIPE_VARIABLE: str(progress_pipe),
    }


def _run_stage(task: str, action: Action, scratch: Path, out: Path) -> None:
    order = scratch / "action.json"
    order.write_text(action.to_json(out))
    log = log_path(task)
    log.parent.mkdir(parents=True, exist_ok=True)
    reading, writing = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-m", "scripts.exec", str(order)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=[writing],
        env=_environment(writing),
        text=True,
        errors="replace",
        start_new_session=True,
    )
    os.close(writing)
    listener = threading.Thread(target=_show_progress, args=(reading,), daemon=True)
    listener.start()
    try:
        assert child.stdout is not None
        tail = _copy_log(child.stdout, log)
        code = child.wait()
    except BaseException:
        _end(child)
        raise
    finally:
        listener.join(timeout=5)
    if code != 0:
        raise _failure(task, code, tail, log)
    if not out.exists():
        raise QuantmakeError(f"{task}: the stage {action.stage_name} wrote nothing; see {log}")


def _end(child: subprocess.Popen[str]) -> None:
    """Stop the stage and whatever it started."""
    try:
        os.killpg(child.pid, signal.SIGTERM)
        child.wait(timeout=5)
    except (subprocess.TimeoutExpired, ProcessLookupError):
        child.kill()
        child.wait()


def _copy_log(stream: IO[str], log: Path) -> list[str]:
    """Write what the stage prints to its log, secrets masked; return the last lines."""
    tail: list[str] = []
    with log.open("w", encoding="utf-8") as file:
        for line in stream:
            clean = mask(line)
            file.write(clean)
            tail = [*tail[-(_LINES_SHOWN - 1) :], clean.rstrip("\n")]
    return tail


def _show_progress(pipe: int) -> None:
    with os.fdopen(pipe, encoding="utf-8") as lines:
        for line in lines:
            try:
                report = json.loads(line)
                console.current().progress(report["what"], report["done"], report["total"])
            except (ValueError, KeyError):
                continue


def _failure(task: str, code: int, tail: list[str], log: Path) -> Failure:
    """The stage's own paragraph where it wrote one, else its last lines."""
    start = next((i for i in reversed(range(len(tail))) if tail[i].startswith("error: ")), None)
    if start is not None:
        text = "\n".join(tail[start:]).removeprefix("error: ")
        return Failure(f"{text}\n(log: {log})", code if code in (1, 2, 3) else 1)
    shown = "\n".join(f"  | {line}" for line in tail)
    if code == -signal.SIGKILL:
        return Failure(
            f"{task} was killed (SIGKILL), most likely because memory ran out. Close other "
            f"programs or build on a larger machine.\n{shown}\n(log: {log})",
            MachineError.exit_code,
        )
    return Failure(f"{task} ended with exit code {code}. Its last lines:\n{shown}\n(log: {log})", 1)
