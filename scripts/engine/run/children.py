"""The processes that this one started: none of them outlives it, however it is told to stop."""

import os
import signal
import subprocess
import sys
import threading
from types import FrameType

_GRACE_S = 3.0
_running: set[subprocess.Popen[str]] = set()
_changing = threading.Lock()


class Interrupted(BaseException):
    """The user or the system asked this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def started(child: subprocess.Popen[str]) -> None:
    """Remember a child that leads a process group of its own."""
    with _changing:
        _running.add(child)


def ended(child: subprocess.Popen[str]) -> None:
    """Forget a child; one that still runs is stopped first, with all that it started."""
    if child.returncode is None:
        stop(child)
    with _changing:
        _running.discard(child)


def stop(child: subprocess.Popen[str]) -> None:
    """Ask the child's process group to end, then end it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            break
        try:
            child.wait(timeout=_GRACE_S)
            break
        except subprocess.TimeoutExpired:
            continue


def stop_all() -> None:
    """Stop every child."""
    with _changing:
        waiting = list(_running)
    for child in waiting:
        stop(child)


def handle_signals() -> None:
    """SIGINT and SIGTERM raise Interrupted in the main thread from now on."""

    def interrupt(number: int, _: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        sys.stderr.write("\nstopping …\n")
        raise Interrupted(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
