"""doit's state: one entry a task, whatever the others are."""

import sqlite3
from pathlib import Path

from doit.dependency import JSONCodec

from scripts.engine.graph.state import PerTaskDB


def opened(file: Path) -> PerTaskDB:
    return PerTaskDB(str(file), JSONCodec())


def test_a_broken_entry_costs_no_other(tmp_path: Path) -> None:
    file = tmp_path / "state/doit.sqlite"
    state = opened(file)
    for task in ("one", "two", "three"):
        state.set(task, "deps:", [task])
    state.dump()
    with sqlite3.connect(file) as broken:
        broken.execute("update doit set task_data = '{' where task_id = 'two'")
        broken.execute("update doit set task_data = null where task_id = 'three'")
    state = opened(file)
    assert [state.get(task, "deps:") for task in ("two", "one", "three", "four")] == [
        None,
        ["one"],
        None,
        None,
    ]


def test_what_is_forgotten_is_not_known(tmp_path: Path) -> None:
    file = tmp_path / "doit.sqlite"
    state = opened(file)
    for task in ("one", "two"):
        state.set(task, "deps:", [task])
    state.dump()
    state = opened(file)
    assert state.get("one", "deps:") == ["one"]
    state.remove("one")
    assert state.get("one", "deps:") is None
    state.remove_all()
    assert state.get("two", "deps:") is None
