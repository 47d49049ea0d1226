"""What people see while doit works: a progress bar on a terminal, plain lines elsewhere."""

import sys
import time
from typing import Any, TextIO

from scripts.engine.pace import Pace, Report
from scripts.engine.sizes import human_time

_BETWEEN_LINES_S = 30.0


class Console:
    """One line per task that runs; its progress between start and end, on a terminal only."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live: Any = None
        self._bars: dict[str, Any] = {}
        self._started: dict[str, float] = {}
        self._paces: dict[str, Pace] = {}
        self._told: dict[str, float] = {}
        self._terminal = stream.isatty()

    def say(self, line: str) -> None:
        """Print a line above whatever is in progress."""
        if self._live is not None:
            self._live.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            self._stream.write(line + "\n")
            self._stream.flush()

    def start(self, task: str) -> None:
        """A task begins to run."""
        self._started[task] = time.monotonic()
        if not self._terminal:
            self.say(f"  … {task}")
            return
        if self._live is None:
            self._open_live()
        self._bars[task] = self._live.add_task("", name=task, total=None)

    def _open_live(self) -> None:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, Progress, TextColumn

        self._live = Progress(
            TextColumn("  … {task.fields[name]}"),
            BarColumn(bar_width=8),
            TextColumn("{task.description}"),
            console=RichConsole(file=self._stream),
            transient=True,
        )
        self._live.start()

    def progress(self, task: str, report: Report) -> None:
        """A running task says how far it is; off a terminal that is a line every half minute."""
        pace = self._paces.get(task)
        if pace is None or pace.what != report.what:
            pace = self._paces[task] = Pace(report)
        if self._live is not None and task in self._bars:
            self._live.update(
                self._bars[task],
                description=pace.text(report),
                completed=report.done,
                total=report.total or None,
            )
        elif not self._terminal and self._is_due(task):
            self.say(f"  … {task}: {pace.text(report)}")

    def _is_due(self, task: str) -> bool:
        now = time.monotonic()
        last = self._told.get(task, self._started.get(task, now))
        if now - last < _BETWEEN_LINES_S:
            return False
        self._told[task] = now
        return True

    def finish(self, task: str, mark: str) -> None:
        """A task has ended; `mark` says how."""
        took = time.monotonic() - self._started.pop(task, time.monotonic())
        self._paces.pop(task, None)
        self._told.pop(task, None)
        if task in self._bars:
            self._live.remove_task(self._bars.pop(task))
            if not self._bars:
                self._live.stop()
                self._live = None
        self.say(f"  {mark} {task}  ({human_time(took)})")


class _Current:
    """The console of this process: the reporter sets it, the runner of stages speaks to it."""

    console = Console(sys.stdout)


def current() -> Console:
    """The console in use."""
    return _Current.console


def use(stream: TextIO) -> Console:
    """Speak to `stream` from now on."""
    _Current.console = Console(stream)
    return _Current.console
