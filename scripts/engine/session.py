"""How this run of doit was asked to work, and the stores that it may use."""

import os
import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

STORE = Path("cache/store")
STORE_VARIABLE = "QUANTMAKE_STORE"


@dataclass
class Session:
    """The options of `doit run` that reach the engine.

    `locked`: build only what reproduces the lock. `always`: run stages even where their result
    is known. `max_memory`: bytes that the stages running at one time may need together.
    """

    locked: bool = False
    always: bool = False
    max_memory: int | None = None
    executor: Any = field(default=None)


session = Session()
"""The one session of this process; `doit run` sets it before the graph is read."""


@cache
def remote_place() -> str | None:
    """The shared store: QUANTMAKE_STORE, else `store` in [tool.quantmake] of pyproject.toml."""
    if os.environ.get(STORE_VARIABLE):
        return os.environ[STORE_VARIABLE]
    try:
        found = tomllib.loads(Path("pyproject.toml").read_text())
    except FileNotFoundError:
        return None
    place: str | None = found.get("tool", {}).get("quantmake", {}).get("store")
    return place
