"""Stages beside each other: threads that each wait for a process, within a memory budget."""

import threading
import time
from pathlib import Path

import pytest

from scripts.engine.run.memory import Budget
from scripts.engine.sizes import parse_size
from tests.engine.project import Project, make_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A toy project, nothing built."""
    return make_project(tmp_path)


def test_same_digests_with_several_at_a_time(project: Project, tmp_path: Path) -> None:
    done = project.doit("-n", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(project.ran()) == ["joined", "words", "words"]
    other = make_project(tmp_path / "other")
    assert other.doit().returncode == 0
    sums = "out/SHA256SUMS"
    assert (project.folder / sums).read_text() == (other.folder / sums).read_text()
    assert project.doit("-n", "3").stdout.startswith("Nothing to do")


def test_killed_worker_is_a_failed_task_and_nothing_hangs(project: Project) -> None:
    project.settings(trouble="kill")
    done = project.doit("-n", "2")
    assert done.returncode == 3
    assert "joined was killed (SIGKILL), most likely because memory ran out." in done.stdout
    project.settings()
    project.ran()
    assert project.doit("-n", "2").returncode == 0
    assert project.ran() == ["joined"]


@pytest.mark.parametrize(("arguments", "wanted"), [((), "as usual"), (("-n", "2"), "passive")])
def test_threads_that_wait_sleep_where_other_stages_run(
    project: Project, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], wanted: str
) -> None:
    project.settings(trouble="environment")
    monkeypatch.delenv("OMP_WAIT_POLICY")
    assert project.doit(*arguments).returncode == 0
    assert (project.folder / "out/joined.txt").read_text() == wanted


def run_beside(limit: int | None, amounts: list[tuple[int, bool]]) -> int:
    """The most bytes that ran at one time; stages that run alone count as all there is."""
    budget = Budget()
    state = {"now": 0, "most": 0}
    changing = threading.Lock()

    def stage(amount: int, alone: bool) -> None:
        with budget.share("x", amount, limit, alone=alone):
            with changing:
                state["now"] += amount
                state["most"] = max(state["most"], state["now"])
            time.sleep(0.02)
            with changing:
                state["now"] -= amount

    threads = [threading.Thread(target=stage, args=one) for one in amounts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    return state["most"]


def test_budget_keeps_big_stages_apart() -> None:
    assert run_beside(100, [(60, False)] * 4) == 60
    assert run_beside(100, [(50, False)] * 6) == 100
    assert run_beside(100, [(500, False), (10, False)]) <= 510


def test_stage_that_is_timed_runs_alone() -> None:
    assert run_beside(None, [(1000, True)] * 3 + [(1, False)] * 5) == 1000


@pytest.mark.parametrize(
    ("text", "size"), [("8GiB", 8 << 30), ("500M", 500 << 20), ("12", 12), ("1.5 kB", 1536)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--max-memory", "lots"], "--max-memory: 'lots' is no size; write it as 8GiB or 500M"),
        (["--engine", "slurm"], "--engine slurm is unknown; it is one of local, dask"),
        (["--engine", "dask"], "--engine dask needs --scheduler tcp://HOST:PORT"),
    ],
)
def test_usage_errors(project: Project, arguments: list[str], said: str) -> None:
    done = project.doit(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
