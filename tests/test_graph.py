"""The graph of dodo.py: its shape, and what it costs to draw it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dodo

HEAVY = ("torch", "transformers", "onnxruntime", "onnx", "numpy", "matplotlib", "llama_cpp")


@pytest.fixture(scope="module")
def tasks() -> list[dict[str, Any]]:
    """Every task dictionary that dodo.py yields."""
    makers = [maker for name, maker in vars(dodo).items() if name.startswith("task_")]
    return [task for maker in makers for task in maker()]


def test_targets_are_unique(tasks: list[dict[str, Any]]) -> None:
    targets = [target for task in tasks for target in task.get("targets", [])]
    assert len(targets) == len(set(targets)) > 30


def test_dependencies_are_targets_and_never_folders(tasks: list[dict[str, Any]]) -> None:
    targets = {target for task in tasks for target in task.get("targets", [])}
    for task in tasks:
        for dependency in task["file_dep"]:
            assert dependency in targets
            assert dependency.endswith(".json")


def test_every_task_says_what_it_does(tasks: list[dict[str, Any]]) -> None:
    assert all(task["doc"] for task in tasks)


def test_list_shows_what_people_ask_for() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "doit", "list"], capture_output=True, text=True, check=True
    )
    names = {line.split()[0] for line in done.stdout.splitlines()}
    assert {"artifact", "cards", "report"} <= names
    assert not names & {"_pages", "_texts", "_origin", "pages", "texts", "origin"}


def test_drawing_the_graph_imports_nothing_heavy() -> None:
    code = (
        "import dodo, sys\n"
        "[list(maker()) for name, maker in vars(dodo).items() if name.startswith('task_')]\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_dodo_shows_the_graph_and_nothing_else() -> None:
    lines = Path(dodo.__file__).read_text().splitlines()
    tasks = sum(line.startswith("def task_") for line in lines)
    assert len(lines) < 10 * tasks
    assert not [line for line in lines if line.strip().startswith(("if ", "class ", "with "))]
