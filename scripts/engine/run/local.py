"""Run the stage of an action in a process of its own on this machine."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

from scripts.checkpoint import FOLDER_VARIABLE
from scripts.engine import console
from scripts.engine.build.action import Action
from scripts.engine.build.bytecode import drop_older_bytecode
from scripts.engine.build.commit import DIGESTS
from scripts.engine.build.perform import Failure
from scripts.engine.build.record import Cost
from scripts.engine.build.sources import ROOT, source_digests
from scripts.engine.pace import Report
from scripts.engine.run.children import ended, started
from scripts.engine.run.memory import Budget, PeakMemory, expected
from scripts.engine.run.unfinished import drop, folder_of
from scripts.engine.secrets import mask
from scripts.engine.session import session
from scripts.environment import stage_environment
from scripts.errors import MachineError, QuantmakeError
from scripts.hashed_file import DIGESTS_VARIABLE
from scripts.progress import PIPE_VARIABLE
from scripts.stage import Stage

LOGS = Path("cache/logs")
_LINES_SHOWN = 15
# Each stage has as many threads as there are cores. Beside another, those that wait for work must
# sleep: spinning, they take the cores from it, and two evaluations at a time are 1.6 times slower.
_BESIDE_OTHERS = {"OMP_WAIT_POLICY": "passive"}


def log_path(task: str) -> Path:
    """The log of a task."""
    return LOGS / (task.replace("/", "_").replace(":", "-") + ".log")


def _environment(
    stage: Stage, progress_pipe: int, digests: Path, checkpoints: Path | None
) -> dict[str, str]:
    """The child's environment: this checkout's `scripts` first, and nothing that varies bytes."""
    inherited = {name: value for name, value in os.environ.items() if name != FOLDER_VARIABLE}
    is_alone = not (session.beside_others and stage.reproducible)
    return {
        **({} if is_alone else _BESIDE_OTHERS),
        **stage_environment(inherited, canonical=stage.canonical),
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]),
        ),
        PIPE_VARIABLE: str(progress_pipe),
        DIGESTS_VARIABLE: str(digests.absolute()),
        **({FOLDER_VARIABLE: str(checkpoints)} if checkpoints else {}),
    }


class LocalExecutor:
    """Processes of this machine; those that run together fit into its memory, or into the limit."""

    width = 0

    def __init__(self, at_once: int | None = None) -> None:
        self._budget = Budget(at_once)

    def close(self) -> None:
        """Nothing stays open."""

    def build(self, task: str, action: Action, key: str, out: Path) -> Cost:
        """As `Executor.build`."""
        alone = not action.stage.reproducible
        limit = session.limit_of(task)
        amount = limit.amount if limit else None
        with self._budget.share(task, expected(action), amount, alone=alone):
            order = out.with_name("action.json")
            order.write_text(action.to_json(out))
            cost = run_order(task, action.stage, order, log_path(task), folder_of(key))
            order.unlink()
        drop(key)
        if not out.exists():
            raise QuantmakeError(
                f"{task}: the stage {action.stage_name} wrote nothing; see {log_path(task)}"
            )
        return cost


def run_order(
    task: str, stage: Stage, order: Path, log: Path, checkpoints: Path | None = None
) -> Cost:
    """Run the action file of a stage, which may keep `checkpoints`; return what its process cost.

    Raises Failure with the stage's own words, or with its last lines.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    drop_older_bytecode(source_digests(type(stage).__module__, *stage.reaches()))
    began = time.monotonic()
    reading, writing = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-m", "scripts.exec", str(order)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=[writing],
        env=_environment(stage, writing, order.with_name(DIGESTS), checkpoints),
        text=True,
        errors="replace",
        start_new_session=True,
    )
    started(child)
    os.close(writing)
    listener = threading.Thread(target=_show_progress, args=(task, reading), daemon=True)
    listener.start()
    memory = PeakMemory(child.pid)
    try:
        assert child.stdout is not None
        tail = _copy_log(child.stdout, log)
        code = child.wait()
    finally:
        memory.stop()
        ended(child)
        listener.join(timeout=5)
    if code != 0:
        raise _failure(task, code, tail, log)
    return Cost(time.monotonic() - began, memory.most)


def _copy_log(stream: IO[str], log: Path) -> list[str]:
    """Write what the stage prints to its log, secrets masked; return the last lines."""
    tail: list[str] = []
    with log.open("w", encoding="utf-8") as file:
        for line in stream:
            clean = mask(line)
            file.write(clean)
            tail = [*tail[-(_LINES_SHOWN - 1) :], clean.rstrip("\n")]
    return tail


def _show_progress(task: str, pipe: int) -> None:
    with os.fdopen(pipe, encoding="utf-8") as lines:
        for line in lines:
            try:
                report = json.loads(line)
                console.current().progress(task, Report(**report))
            except (ValueError, TypeError):
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
