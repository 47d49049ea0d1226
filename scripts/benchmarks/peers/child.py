"""A process with its wall time, processor time and peak memory; its words go to a log."""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.engine.build.sources import ROOT
from scripts.engine.run.children import ended, started
from scripts.engine.run.memory import PeakMemory
from scripts.errors import QuantmakeError
from scripts.strict import Strict

_LINES_SHOWN = 3
_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


class Cost(Strict):
    """Seconds of wall time, seconds of all cores, and the most bytes that the process and those
    that it started had for themselves; files mapped into memory do not count."""

    seconds: float
    cpu_seconds: float
    memory: int


def run(
    what: str, command: Sequence[str], log: Path, more: Mapping[str, str] | None = None
) -> Cost:
    """Run a command with this checkout on its path; `more` are environment variables.

    Raises QuantmakeError with its last words where it fails.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, **_OFFLINE, "PYTHONPATH": str(ROOT), **(more or {})}
    began = time.monotonic()
    with log.open("w") as words:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=subprocess.STDOUT,
            env=environment,
            text=True,
            start_new_session=True,
        )
        started(child)
        memory = PeakMemory(child.pid)
        try:
            _, status, usage = os.wait4(child.pid, 0)  # counts the children that it waited for
            child.returncode = os.waitstatus_to_exitcode(status)
        finally:
            peak = memory.stop()
            ended(child)
    if child.returncode:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
        last = " / ".join([line for line in lines if line][-_LINES_SHOWN:]) or "none"
        raise QuantmakeError(
            f"{what} ended with exit code {child.returncode}; its last words: {last} (log: {log})"
        )
    seconds = time.monotonic() - began
    return Cost(seconds=seconds, cpu_seconds=usage.ru_utime + usage.ru_stime, memory=peak)
