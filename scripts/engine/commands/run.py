"""`doit run`, with the exit codes of this project in place of doit's own."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from doit.cmd_run import Run
from doit.cmdparse import CmdParseError
from doit.control import TaskControl
from doit.exceptions import InvalidCommand, InvalidDodoFile, InvalidTask

from scripts.engine import console
from scripts.engine.build.guard import wait_until_free
from scripts.engine.commands.graph_command import option, options_first
from scripts.engine.graph import lost
from scripts.engine.graph.tasks import exit_codes
from scripts.engine.run.children import Interrupted, handle_signals, stop_all
from scripts.engine.run.executors import executor_of
from scripts.engine.run.forecasts import refuse_what_cannot_fit
from scripts.engine.session import Limit, session
from scripts.engine.sizes import parse_size
from scripts.errors import QuantmakeError
from scripts.lean import collect_garbage_rarely

_OPTIONS = (
    option("locked", False, "build only what reproduces the lock file; say what drifted (for CI)"),
    option(
        "max_memory",
        "",
        "what a stage may need, and with -n those that run at one time, as 8GiB",
    ),
    option(
        "engine",
        "local",
        "where stages run: local, or dask (needs --scheduler and a shared store)",
    ),
    option("scheduler", "", "the address of the Dask scheduler, as tcp://HOST:8786"),
)
_PATIENCE_S = 5.0


class BuildCommand(Run):
    """Exit codes: 0 done, 1 a task failed, 2 usage or recipe, 3 the machine lacks something.

    130 and 143 after Ctrl-C and SIGTERM.
    """

    name = "run"
    cmd_options = (*Run.cmd_options, *_OPTIONS)

    def parse_execute(self, in_args: list[str]) -> int:
        """Parse the command line, run the tasks, answer with the exit code."""
        exit_codes.clear()
        collect_garbage_rarely()
        handle_signals()
        try:
            given = options_first(self, [argument.rstrip("/") for argument in in_args])
            result: int = super().parse_execute(given)
        except Interrupted as interrupted:
            stop_all()
            wait_until_free(_PATIENCE_S)
            return 128 + interrupted.number
        except (CmdParseError, InvalidDodoFile, InvalidTask, InvalidCommand) as error:
            if isinstance(error, InvalidCommand):
                error.cmd_used, error.bin_name = None, "doit"
            sys.stderr.write(f"error: {error}\n")
            return 2
        except QuantmakeError as error:
            sys.stderr.write(f"error: {error}\n")
            return error.exit_code
        return max(exit_codes, default=1) if result else 0

    def execute(self, params: Any, args: list[str]) -> int:
        """Set the session before the graph is read; stages run beside each other as threads."""
        try:
            session.max_memory = parse_size(params["max_memory"]) if params["max_memory"] else None
        except ValueError as error:
            raise CmdParseError(f"--max-memory: {error}") from None
        session.locked, session.always = params["locked"], params["always"]
        session.executor = executor_of(params["engine"], params["scheduler"])
        session.before_building = self._refuse_what_cannot_fit
        params["par_type"] = "thread"
        params["num_process"] = params["num_process"] or session.executor.width
        session.beside_others = params["num_process"] > 1
        for one in _OPTIONS:
            params.pop(one["name"])
        try:
            result: int = super().execute(params, args)
            if result and params["continue"]:
                self._go_on_without_what_failed(params)
        finally:
            session.executor.close()
        return result

    def _go_on_without_what_failed(self, params: Any) -> None:
        """Run those tasks of `session.despite` that were asked for, and can do without it."""
        selected = self.control.selected_tasks
        asked = [name for name in selected if name.partition("@")[0] in session.despite]
        if not asked or not lost.are_any():
            return
        control = TaskControl(self.loader.load_tasks(cmd=self, pos_args=[]))
        control.process(asked)
        tasks = [control.tasks[name] for name in _closure(control, asked)]
        if any(lost.reason_of(Path(target)) for task in tasks for target in task.targets):
            return
        console.current().say(f"{', '.join(asked)}: written without what failed.")
        self.dep_manager = None  # doit opens its state anew
        super().execute(params, asked)

    def _refuse_what_cannot_fit(self) -> None:
        """Raises MachineError; a run that builds nothing does not come here."""
        refuse_what_cannot_fit(_closure(self.control, self.control.selected_tasks))


def _closure(control: Any, names: Iterable[str]) -> set[str]:
    """The tasks and all that they need."""
    needed: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += control.tasks[name].task_dep
    return needed


def settings(
    default_tasks: list[str],
    limits: Callable[[str], Limit | None] | None = None,
    despite: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The DOIT_CONFIG of a project on this engine; `limits` says what a task's stage may need,
    `despite` names the tasks that run on what there is where, with --continue, others failed."""
    if limits is not None:
        session.limits = limits
    session.despite = despite
    return {
        "default_tasks": default_tasks,
        "dep_file": "cache/state/doit.sqlite",
        "backend": "per-task",
        "reporter": "quantmake",
        "verbosity": 2,
    }
