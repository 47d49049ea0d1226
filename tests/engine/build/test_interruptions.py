"""Kills, signals, broken state, two runs at once: the next `doit` ends as an undisturbed one."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.engine.project import Project, make_project

DRIVER = '''
"""Run doit, and die by SIGKILL at the n-th passing of a point."""
import os, sys
import scripts.engine.build.perform as perform
import scripts.engine.build.commit as commit
import scripts.engine.store.manifest as manifest
from scripts.engine.graph.state import PerTaskDB
from doit.doit_cmd import DoitMain

POINT, COUNT = sys.argv[1], int(sys.argv[2])
PLACES = {
    "before the action": (perform, "_make"),
    "before the commit": (perform, "commit"),
    "before the manifest": (commit, "write_atomically"),
    "before the record": (perform, "write_record"),
    "before the store": (perform, "keep"),
    "before the state": (PerTaskDB, "_save"),
}
passed = 0
owner, name = PLACES[POINT]
original = getattr(owner, name)


def die_there(*arguments, **options):
    global passed
    passed += 1
    if passed == COUNT:
        os.kill(os.getpid(), 9)
    return original(*arguments, **options)


setattr(owner, name, die_there)
sys.exit(DoitMain().run(sys.argv[3:]))
'''
POINTS = [
    "before the action",
    "before the commit",
    "before the manifest",
    "before the record",
    "before the store",
    "before the state",
]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A toy project, nothing built."""
    made = make_project(tmp_path)
    (tmp_path / "driver.py").write_text(DRIVER)
    return made


def sums(project: Project) -> str:
    """The digests of the artefacts."""
    return (project.folder / "out/SHA256SUMS").read_text()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digests of a build that nobody disturbed."""
    made = make_project(tmp_path_factory.mktemp("undisturbed"))
    assert made.doit().returncode == 0
    return sums(made)


def kill_at(project: Project, point: str, count: int) -> int:
    """The exit code of a doit that dies at a point."""
    return subprocess.run(
        [sys.executable, "driver.py", point, str(count)],
        cwd=project.folder,
        env=project.environment(),
        capture_output=True,
        timeout=100,
        check=False,
    ).returncode


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("point", POINTS)
def test_kill_of_the_controller(project: Project, undisturbed: str, point: str, count: int) -> None:
    assert kill_at(project, point, count) == -signal.SIGKILL
    before = project.ran()
    done = project.doit()
    assert done.returncode == 0, done.stdout + done.stderr
    assert sums(project) == undisturbed
    assert len(before) + len(project.ran()) <= 4, "more than one task's work was repeated"
    assert not list(project.folder.rglob(".scratch"))


def test_50_kills_between_two_options(project: Project, undisturbed: str) -> None:
    """Builds that go back and forth are killed; whoever then finishes finds no bytes of the other,
    in the target, in the store and by the digests."""
    rng, kills, rounds = random.Random(0), 0, 0
    wanted = {"world": undisturbed}
    while kills < 50:
        rounds += 1
        option = ("world", "moon", "sun")[rounds % 3]
        project.settings(b=option)
        kills += kill_at(project, rng.choice(POINTS), rng.randint(1, 3)) == -signal.SIGKILL
        if rounds % 5 == 0:
            back = rng.choice(("world", "moon", "sun"))
            project.settings(b=back)
            done = project.doit()
            assert done.returncode == 0, done.stdout + done.stderr
            assert (project.folder / "cache/b/words.txt").read_text() == back
            assert (project.folder / "out/joined.txt").read_text() == f"hello {back}"
            assert wanted.setdefault(back, sums(project)) == sums(project)
    project.settings()
    assert project.doit().returncode == 0
    assert sums(project) == undisturbed
    assert project.doit("verify", "--deep").returncode == 0
    assert project.doit().stdout.startswith("Nothing to do")


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("point", POINTS)
def test_kill_on_the_way_from_one_option_to_another_and_back(
    project: Project, undisturbed: str, point: str, count: int
) -> None:
    """What an interrupted build left is never taken for what was built before it."""
    assert project.doit().returncode == 0
    shutil.rmtree(project.folder / "cache/store")
    project.settings(b="moon")
    assert kill_at(project, point, count) == -signal.SIGKILL
    project.settings()
    assert project.doit().returncode == 0
    assert (project.folder / "cache/b/words.txt").read_text() == "world"
    assert sums(project) == undisturbed
    assert project.doit("verify", "--deep").returncode == 0


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
@pytest.mark.parametrize("width", [[], ["-n", "2"]], ids=["serial", "-n 2"])
def test_signals_stop_children_and_leave_no_scratch(
    project: Project, number: int, code: int, width: list[str]
) -> None:
    project.settings(trouble="slow")
    running = subprocess.Popen(
        [sys.executable, "-m", "doit", *width],
        cwd=project.folder,
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_for(lambda: (project.folder / "trace.txt").read_text().count("joined"))
    child = int(project.ran_pid())
    running.send_signal(number)
    output, _ = running.communicate(timeout=30)
    assert running.returncode == code, output
    assert "Traceback" not in output
    assert "Interrupted: " in output
    wait_for(lambda: not Path("/proc", str(child)).exists())
    assert not list(project.folder.rglob(".scratch"))
    project.settings()
    project.ran()
    assert project.doit().returncode == 0
    assert project.ran() == ["joined"]


def wait_for(condition: object, seconds: float = 20) -> None:
    """Wait until `condition()` is true; errors of missing files count as not yet."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if condition():  # type: ignore[operator]
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


@pytest.mark.parametrize("trouble", ["slow", "grandchild"])
def test_stage_dies_with_a_killed_controller(project: Project, trouble: str) -> None:
    """And so does a process that the stage has started."""
    project.settings(trouble=trouble)
    running = subprocess.Popen(
        [sys.executable, "-m", "doit"], cwd=project.folder, env=project.environment()
    )
    wait_for(lambda: (project.folder / "trace.txt").read_text().count("joined"))
    child = int(project.ran_pid())
    running.kill()
    running.wait()
    wait_for(lambda: not Path("/proc", str(child)).exists())


@pytest.fixture
def built(project: Project) -> Project:
    """A toy project, all built."""
    assert project.doit().returncode == 0
    project.ran()
    return project


@pytest.mark.parametrize("fault", ["emptied", "truncated", "flipped", "text", "row", "removed"])
def test_broken_state_costs_no_work(built: Project, undisturbed: str, fault: str) -> None:
    state = built.folder / "cache/state/doit.sqlite"
    data = bytearray(state.read_bytes())
    if fault == "row":
        with sqlite3.connect(state) as connection:
            connection.execute("update doit set task_data = '{broken'")
        connection.close()
    elif fault == "removed":
        state.unlink()
    else:
        middle = len(data) // 2
        flipped = bytes([*data[:20], *(byte ^ 0xFF for byte in data[20:200]), *data[200:]])
        state.write_bytes(
            {
                "emptied": b"",
                "truncated": bytes(data[:middle]),
                "flipped": flipped,
                "text": b"not a database" * 100,
            }[fault]
        )
    done = built.doit()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert built.ran() == []
    assert sums(built) == undisturbed
    if fault in ("truncated", "flipped", "text"):
        assert "state file cache/state/doit.sqlite is corrupt; it was put aside" in done.stderr
    assert built.doit().stdout.startswith("Nothing to do")


def test_state_that_another_program_holds_is_not_corrupt(built: Project) -> None:
    state = built.folder / "cache/state/doit.sqlite"
    with sqlite3.connect(state, isolation_level=None) as connection:
        connection.execute("begin exclusive")
        done = built.doit()
        plan = built.doit("plan")
    connection.close()
    assert done.returncode == 2
    assert "can't be used now (database is locked): another program holds it" in done.stderr
    assert "Traceback" not in done.stderr + plan.stderr
    assert not list(built.folder.rglob("*.corrupt"))
    assert built.doit().stdout.startswith("Nothing to do")


FULL_DISK = """
import sqlite3, sys
from scripts.engine.graph.state import PerTaskDB
from doit.doit_cmd import DoitMain


def full():
    raise sqlite3.OperationalError("database or disk is full")


original = PerTaskDB._write
PerTaskDB._write = lambda self, work: original(self, full)
sys.exit(DoitMain().run([]))
"""


def test_disk_that_is_full_when_the_state_is_saved(project: Project, undisturbed: str) -> None:
    (project.folder / "full.py").write_text(FULL_DISK)
    done = project.python("full.py")
    assert done.returncode == 0, done.stdout + done.stderr
    text = "warning: the state file can't be written (database or disk is full). What is built is"
    assert done.stderr.count(text) == 1
    assert sums(project) == undisturbed
    project.ran()
    assert project.doit().returncode == 0
    assert project.ran() == []


@pytest.mark.parametrize("what", ["json", "action"])
@pytest.mark.parametrize("fault", ["emptied", "flipped", "removed"])
def test_broken_manifest_or_record(built: Project, undisturbed: str, what: str, fault: str) -> None:
    path = built.folder / f"out/.manifests/joined.txt.{what}"
    if fault == "removed":
        path.unlink()
    else:
        data = path.read_bytes()
        path.write_bytes(b"" if fault == "emptied" else data.replace(b"a", b"b"))
    done = built.doit()
    assert done.returncode == 0, done.stdout + done.stderr
    assert sums(built) == undisturbed
    assert built.doit("verify", "--deep").returncode == 0


def test_two_runs_at_once(project: Project, undisturbed: str) -> None:
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "doit"],
            cwd=project.folder,
            env=project.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(3)
    ]
    outputs = [run.communicate(timeout=60)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], "\n".join(outputs)
    assert sorted(project.ran()) == ["joined", "words", "words"]
    assert sums(project) == undisturbed


def test_clock_set_back(built: Project) -> None:
    for path in built.folder.rglob("*"):
        if path.is_file() and "scripts" not in path.parts:
            status = path.stat()
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 10**15))
    assert built.doit().returncode == 0
    assert built.ran() == []


def test_input_that_is_edited_while_it_is_read(project: Project) -> None:
    project.settings(trouble="edit input")
    done = project.doit()
    assert done.returncode == 1
    assert "input first (cache/a) changed while the task ran" in done.stdout
    assert not (project.folder / "out/joined.txt").exists()


def test_scratch_of_a_killed_run_goes_where_its_target_is_kept(built: Project) -> None:
    room = built.folder / "out/.scratch/joined.txt/999999999"
    room.mkdir(parents=True)
    (built.folder / "cache/state/doit.sqlite").unlink()
    assert built.doit().returncode == 0
    assert built.ran() == []
    assert not (built.folder / "out/.scratch").exists()
