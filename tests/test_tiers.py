"""What is fast and what is not is read from the tests' own code."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkout import make_checkout
from tests.engine.project import make_project
from tests.tiers import starts_processes


def _run() -> None:
    subprocess.run([sys.executable], check=True)


class _Shell:
    def ask(self) -> None:
        """By a function of this module."""
        _run()


def _later() -> None:
    def inner() -> None:
        _Shell().ask()

    inner()


def _lazily() -> None:
    import multiprocessing  # noqa: F401


def _neither() -> Path:
    return Path("subprocess")


@pytest.mark.parametrize("one", [_run, _Shell, _later, _lazily, make_project, make_checkout])
def test_starts_a_process(one: object) -> None:
    assert starts_processes([one])


@pytest.mark.parametrize("one", [_neither, str, 3])
def test_starts_none(one: object) -> None:
    assert not starts_processes([one])


def test_marks_are_set(request: pytest.FixtureRequest) -> None:
    assert request.node.get_closest_marker("fast")
