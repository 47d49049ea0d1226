"""How this run of doit was asked to work, and the stores that it may use."""

import contextlib
import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

STORE = Path("cache/store")
STORE_VARIABLE = "QUANTMAKE_STORE"
READ_ONLY_VARIABLE = "QUANTMAKE_STORE_READ_ONLY"


@dataclass(frozen=True)
class Limit:
    """Bytes that a stage may need, and who says so, such as `--max-memory`."""

    amount: int
    reason: str


@dataclass
class Session:
    """The options of `doit run` that reach the engine.

    `locked`: build only what reproduces the lock. `always`: run stages even where their result
    is known. `max_memory`: bytes that the stages running at one time may need together, and each
    alone. `limits`: the same by task, of who wrote the graph. `before_building` is called before
    the first stage runs. `despite` names the tasks that run on what there is where others failed.
    `beside_others`: several stages may run at one time.
    """

    locked: bool = False
    always: bool = False
    max_memory: int | None = None
    executor: Any = None
    limits: Callable[[str], Limit | None] = lambda _: None
    before_building: Callable[[], None] | None = None
    despite: tuple[str, ...] = ()
    beside_others: bool = False

    def limit_of(self, task: str) -> Limit | None:
        """What the stage of a task may need: by the command line, the graph, or the machine."""
        if self.max_memory is not None:
            return Limit(self.max_memory, "--max-memory")
        return self.limits(task) or _machine()


@cache
def _machine() -> Limit:
    """Memory and swap of this machine; a control group may allow less (cgroup v2, memory.max)."""
    import psutil

    amount: int = psutil.virtual_memory().total + psutil.swap_memory().total
    with contextlib.suppress(OSError, ValueError):  # there is none, or it says "max"
        amount = min(amount, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return Limit(amount, "this machine")


session = Session()
"""The one session of this process; `doit run` sets it before the graph is read."""


@cache
def remote_place() -> str | None:
    """The shared store: QUANTMAKE_STORE, else `store` in [tool.quantmake] of pyproject.toml."""
    place: str | None = os.environ.get(STORE_VARIABLE) or _project().get("store")
    return place


@cache
def only_fetches() -> bool:
    """Whether nothing may be written to the shared store from here: QUANTMAKE_STORE_READ_ONLY, else
    `store_read_only` in [tool.quantmake]."""
    said = os.environ.get(READ_ONLY_VARIABLE)
    return said not in ("", "0") if said is not None else bool(_project().get("store_read_only"))


@cache
def store_keys() -> tuple[str, ...]:
    """The public keys whose signature a record of the shared store needs: `store_keys` in
    [tool.quantmake]; none where any record counts."""
    return tuple(_project().get("store_keys", ()))


def _project() -> dict[str, Any]:
    """[tool.quantmake] of pyproject.toml."""
    try:
        project = tomllib.loads(Path("pyproject.toml").read_text())
    except FileNotFoundError:
        return {}
    settings: dict[str, Any] = project.get("tool", {}).get("quantmake", {})
    return settings
