"""`doit plan`: what would run, in what order and why. `doit why TARGET`: what changed, exactly."""

import contextlib
from dataclasses import dataclass
from typing import Any

from doit.exceptions import InvalidCommand

from scripts.engine.build.record import read_record
from scripts.engine.build.status import Kind, Reason
from scripts.engine.commands.graph_command import GraphCommand, checker_of
from scripts.engine.graph.tasks import UpToDate
from scripts.engine.run.forecasts import Need, gib, need_of, refusals
from scripts.engine.session import STORE
from scripts.engine.sizes import human_time
from scripts.engine.store.local import LocalStore


def reasons_of(command: GraphCommand, task: Any) -> tuple[Reason, ...]:
    """Why a task would run; empty where it would not."""
    checker = checker_of(task)
    if checker is not None:
        return checker.reasons()
    status = command.dep_manager.get_status(task, command.tasks)
    if status.status == "up-to-date":
        return ()
    return (Reason(Kind.COPY, "its inputs or its copy changed"),)


@dataclass(frozen=True)
class Expected:
    """What a target will take. `seconds` is what it took last time, None where it was never
    built here; `stored` is true where a store has it, so that nothing is computed."""

    seconds: float | None
    need: Need
    stored: bool

    def __str__(self) -> str:
        if self.stored:
            return "comes from the store"
        told = [human_time(self.seconds)] if self.seconds else []
        if self.need.memory is not None:
            told.append(f"{gib(self.need.memory)} of memory")
        if self.need.disk and self.need.disk >= 1e6:
            told.append(f"{self.need.disk / 1e6:,.0f} MB of disk")
        return f"about {', '.join(told)}" if told else ""


def cost_of(checker: UpToDate, *, as_it_is: bool) -> Expected:
    """The cost of a target, from its record and its manifest, or as its stage says.

    `as_it_is`: from the inputs that are there, which a store may have the result of.
    """
    action, stored = checker.action, False
    with contextlib.suppress(FileNotFoundError):  # of an input that is not built yet
        stored = as_it_is and LocalStore(STORE).record(action.key()).is_file()
    built = read_record(action.target)
    return Expected(built.seconds if built else None, need_of(action), stored)


def estimate(costs: list[Expected]) -> str:
    """Time, memory and disk of all that would or may run, as far as anyone can tell."""
    seconds = [cost.seconds for cost in costs if cost.seconds and not cost.stored]
    disk = sum(cost.need.disk or 0 for cost in costs)
    memory = max((cost.need.memory or 0 for cost in costs if not cost.stored), default=0)
    told = [f"{human_time(sum(seconds))} as last time"] if seconds else []
    told += [f"{gib(memory)} of memory"] if memory else []
    told += [f"{disk / 1e6:,.0f} MB of disk"] if disk >= 1e6 else []
    others = sum(cost.seconds is None and not cost.stored for cost in costs)
    more = f" {others} were never built here." if others else ""
    return f" About {', '.join(told)}.{more}" if told else more


class PlanCommand(GraphCommand):
    """What would run, in what order, and why."""

    name = "plan"
    doc_purpose = "show what would run, in what order, and why; run nothing"
    doc_usage = "[TASK ...]"

    def _execute(self) -> int:
        rows: dict[str, str] = {}
        may_run: set[str] = set()
        for task in self.in_order(self.sel_tasks):
            if not task.actions:
                continue
            upstream = [name for name in task.task_dep if name in rows or name in may_run]
            own = reasons_of(self, task)
            waits = upstream and [one.kind for one in own] == [Kind.INPUT_MISSING]
            if own and not waits:
                rows[task.name] = f"will run: {'; '.join(map(str, own))}"
            elif own:
                rows[task.name] = f"will run: after {', '.join(upstream)}"
            elif upstream:
                may_run.add(task.name)
                rows[task.name] = f"may run, if its input changes: {', '.join(upstream)}"
        costs = {
            name: cost_of(checker, as_it_is=name not in may_run)
            for name in rows
            if (checker := checker_of(self.tasks[name]))
        }
        for name, text in rows.items():
            self.outstream.write(f"  {name}\n      {text}\n")
            if cost := str(costs.get(name, "")):
                self.outstream.write(f"      {cost}\n")
        will = len(rows) - len(may_run)
        text = f"{will} will run, {len(may_run)} may." if rows else "Nothing would run."
        self.outstream.write(f"{text}{estimate(list(costs.values()))}\n")
        for text in refusals(rows):
            self.outstream.write(f"{text}\n")
        self.dep_manager.close()
        return 0


class WhyCommand(GraphCommand):
    """What changed for one target: the old value and the new."""

    name = "why"
    doc_purpose = "show what makes a target stale: each input that changed, old and new"
    doc_usage = "TARGET"

    def _execute(self, pos_args: list[str]) -> int:
        if len(pos_args) != 1:
            raise InvalidCommand("`why` takes one task or target, such as quantized/model-int8")
        order = self.in_order([pos_args[0].rstrip("/")])
        stale = {
            task.name: reasons
            for task in order
            if task.actions and (reasons := reasons_of(self, task))
        }
        target = order[-1]
        self.dep_manager.close()
        if not stale:
            self.outstream.write(f"{target.name} is up to date.\n")
            return 0
        for name, reasons in stale.items():
            where = "" if name == target.name else f" (needed by {target.name})"
            self.outstream.write(f"{name}{where}\n")
            for reason in reasons:
                self.outstream.write(f"  {reason}\n")
        return 0
