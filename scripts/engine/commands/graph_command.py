"""What the commands share: how they tell doit of options, and how they look at the graph."""

import sys
from collections.abc import Iterator
from getopt import GetoptError, gnu_getopt
from typing import Any

from doit.cmd_base import DoitCmdBase
from doit.cmdparse import CmdParseError
from doit.control import TaskControl
from doit.exceptions import InvalidCommand

from scripts.engine.graph.tasks import UpToDate
from scripts.errors import QuantmakeError


def option(name: str, default: Any, text: str, **more: Any) -> dict[str, Any]:
    """An option as doit describes one."""
    return {
        "name": name,
        "long": name.replace("_", "-"),
        "type": type(default),
        "default": default,
        "help": text,
        **more,
    }


def options_first(command: Any, arguments: list[str]) -> list[str]:
    """A command line with its options before what they are about, as doit wants them."""
    parser = command.cmdparser
    try:
        options, others = gnu_getopt(arguments, parser.get_short(), parser.get_long())
    except GetoptError:
        # doit says what is wrong, of options that it gets to see.
        return sorted(arguments, key=lambda word: not word.startswith("-"))
    return [word for pair in options for word in pair if word] + others


def checker_of(task: Any) -> UpToDate | None:
    """What knows the action of a task; None for a task that makes no target."""
    found = (one for one, *_ in task.uptodate if isinstance(one, UpToDate))
    return next(found, None)


class GraphCommand(DoitCmdBase):
    """A command that reads the graph."""

    cmd_options: Any = ()
    doc_usage = ""
    doc_description: Any = None

    def parse_execute(self, in_args: list[str]) -> int:
        """Parse the command line, options before or after the targets; errors are for people."""
        try:
            result: int = super().parse_execute(options_first(self, in_args))
        except QuantmakeError as error:
            sys.stderr.write(f"error: {error}\n")
            return error.exit_code
        except (CmdParseError, InvalidCommand) as error:
            sys.stderr.write(f"error: {error.args[0]}\n")
            return 2
        return result

    def in_order(self, selected: list[str] | None) -> list[Any]:
        """The selected tasks and all that they need, what is needed first."""
        control = TaskControl(self.task_list)
        control.process(selected)
        self.tasks = control.tasks
        position = {name: index for index, name in enumerate(control.tasks)}
        ordered: dict[str, Any] = {}

        def visit(name: str) -> None:
            if name not in ordered:
                for dependency in sorted(control.tasks[name].task_dep, key=position.__getitem__):
                    visit(dependency)
                ordered[name] = control.tasks[name]

        for name in control.selected_tasks:
            visit(name)
        return list(ordered.values())

    def checkers(self, selected: list[str]) -> Iterator[tuple[str, UpToDate]]:
        """The name and the checker of the selected tasks; of all with a lock where none is."""
        names = [name.rstrip("/") for name in selected]
        wanted: set[str] | None = None
        if names:
            control = TaskControl(self.task_list)
            control.process(names)
            wanted = set(control.selected_tasks)
            for name in list(wanted):
                wanted.update(
                    control.tasks[name].task_dep if not control.tasks[name].actions else []
                )
        for task in self.task_list:
            checker = checker_of(task)
            if checker and (task.name in wanted if wanted is not None else checker.lock):
                yield task.name, checker
