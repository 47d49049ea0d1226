"""doit's reporter: one line per task that runs, failures as paragraphs, a closing sentence."""

import sys
import time
from typing import Any, TextIO

from doit.exceptions import UnmetDependency
from doit.reporter import ConsoleReporter

from scripts.engine import console
from scripts.engine.run.children import Interrupted
from scripts.engine.sizes import human_time


class Reporter(ConsoleReporter):
    """Says what runs and how it ended; tasks that are up to date are counted, not listed."""

    desc = "one line per task that runs, with progress"

    def __init__(self, outstream: TextIO, options: dict[str, Any]) -> None:
        super().__init__(outstream, options)
        self._console = console.use(outstream)
        self._started = time.monotonic()
        self._ran = self._current = 0
        self._unmet: list[str] = []

    def execute_task(self, task: Any) -> None:
        """A task begins."""
        if task.actions:
            self._console.start(task.name)

    def add_success(self, task: Any) -> None:
        """A task has ended well."""
        if task.actions:
            self._ran += 1
            self._console.finish(task.name, "✓")

    def skip_uptodate(self, task: Any) -> None:
        """There was nothing to do for a task."""
        self._current += 1

    def add_failure(self, task: Any, fail: Any) -> None:
        """A task has failed; its text is for people. What needs it is named once, at the end."""
        if isinstance(fail, UnmetDependency):
            self._unmet.append(task.name)
            return
        self.failures.append({"task": task, "exception": fail})
        self._console.finish(task.name, "✗")
        self._console.say(fail.message if fail.message else fail.get_msg())

    def complete_run(self) -> None:
        """All is done, or as much as could be."""
        for message in self.runtime_errors:
            self._console.say(message)
        if self._unmet:
            names = ", ".join(name for name in self._unmet if not name.startswith("_"))
            self._console.say(f"Not done, since they need what failed: {names}.")
        took = human_time(time.monotonic() - self._started)
        if isinstance(sys.exc_info()[1], Interrupted):
            self._console.say(
                f"Interrupted: {self._ran} done, in {took}. `doit` goes on from here."
            )
        elif self.failures or self.runtime_errors:
            self._console.say(f"Stopped: {len(self.failures)} failed, {self._ran} done, in {took}.")
        elif self._ran:
            self._console.say(f"Done: {self._ran} run, {self._current} up to date, in {took}.")
        else:
            self._console.say(f"Nothing to do: {self._current} tasks are up to date.")
