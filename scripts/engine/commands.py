"""`doit run`, with the exit codes of this project in place of doit's own."""

import sys
from typing import Any

from doit.cmd_run import Run
from doit.cmdparse import CmdParseError
from doit.exceptions import InvalidCommand, InvalidDodoFile, InvalidTask

from scripts.engine.tasks import exit_codes


class BuildCommand(Run):
    """Exit codes: 0 done, 1 a task failed, 2 usage or recipe, 3 the machine lacks something."""

    name = "run"

    def parse_execute(self, in_args: list[str]) -> int:
        """Parse the command line, run the tasks, answer with the exit code."""
        exit_codes.clear()
        try:
            result: int = super().parse_execute([argument.rstrip("/") for argument in in_args])
        except (CmdParseError, InvalidDodoFile, InvalidTask, InvalidCommand) as error:
            if isinstance(error, InvalidCommand):
                error.cmd_used, error.bin_name = None, "doit"
            sys.stderr.write(f"error: {error}\n")
            return 2
        return max(exit_codes, default=1) if result else 0


def settings(default_tasks: list[str]) -> dict[str, Any]:
    """The DOIT_CONFIG of a project on this engine."""
    return {
        "default_tasks": default_tasks,
        "dep_file": "cache/state/doit.sqlite",
        "backend": "per-task",
        "reporter": "quantmake",
        "verbosity": 2,
    }
