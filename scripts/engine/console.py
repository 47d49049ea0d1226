"""What people see while doit works: a progress bar on a terminal, plain lines elsewhere."""

import sys
import time
from typing import Any, TextIO


def human_time(seconds: float) -> str:
    """Such as `0.4 s`, `12 s` or `3 min 20 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


class Console:
    """One line per task that runs; its progress between start and end, on a terminal only."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live: Any = None
        self._bars: dict[str, Any] = {}
        self._started: dict[str, float] = {}
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
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._live = Progress(
            TextColumn("  … {task.fields[name]}"),
            BarColumn(bar_width=20),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=RichConsole(file=self._stream),
            transient=True,
        )
        self._live.start()

    def progress(self, task: str, what: str, done: float, total: float) -> None:
        """A running task says how far it is."""
        if self._live is not None and task in self._bars:
            percent = f" {done / total:.0%}" if total else ""
            self._live.update(
                self._bars[task],
                description=f"{what}{percent}",
                completed=done,
                total=total or None,
            )

    def finish(self, task: str, mark: str) -> None:
        """A task has ended; `mark` says how."""
        took = time.monotonic() - self._started.pop(task, time.monotonic())
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
