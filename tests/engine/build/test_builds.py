"""The engine's promises, seen through real `doit` runs of a small project."""

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.engine.project import Project, make_project

EDITS_DURING_THE_COMMIT = """
import sys
from pathlib import Path
import scripts.engine.build.perform as perform
from scripts.engine.build.sources import forget_sources
from doit.doit_cmd import DoitMain

original = perform.commit


def commit(*arguments):
    if arguments[1].name == "joined.txt":
        Path("scripts/toy_words.py").write_text('JOINER = "-"')
        forget_sources()
    return original(*arguments)


perform.commit = commit
sys.exit(DoitMain().run([]))
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A toy project, nothing built."""
    return make_project(tmp_path)


@pytest.fixture
def built(project: Project) -> Project:
    """A toy project, all built."""
    done = project.doit()
    assert done.returncode == 0, done.stdout + done.stderr
    project.ran()
    return project


def test_first_run_builds_everything(project: Project) -> None:
    done = project.doit()
    assert done.returncode == 0, done.stdout + done.stderr
    assert project.ran() == ["words", "words", "joined"]
    assert (project.folder / "out/joined.txt").read_text() == "hello world"
    assert (project.folder / "words.txt").read_text() == "hello"
    assert "✓ joined" in done.stdout
    checked = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"],
        cwd=project.folder / "out",
        capture_output=True,
        check=False,
    )
    assert checked.returncode == 0


def test_second_run_runs_nothing(built: Project) -> None:
    done = built.doit()
    assert done.returncode == 0
    assert built.ran() == []
    assert done.stdout.strip() == "Nothing to do: 5 tasks are up to date."


def test_changed_option_rebuilds_what_depends_on_it(built: Project) -> None:
    built.settings(b="moon")
    assert built.doit().returncode == 0
    assert built.ran() == ["words", "joined"]


def test_equal_rebuild_stops_early(built: Project) -> None:
    built.settings(b="WORLD")
    assert built.doit().returncode == 0
    assert built.ran() == ["words"]


def test_editing_an_imported_module_rebuilds(built: Project) -> None:
    (built.folder / "scripts/toy_words.py").write_text('"""Words."""\nJOINER = "-"\n')
    assert built.doit().returncode == 0
    assert built.ran() == ["words", "words", "joined"]
    assert (built.folder / "out/joined.txt").read_text() == "hello-world"


def test_editing_an_unrelated_module_rebuilds_nothing(built: Project) -> None:
    (built.folder / "scripts/engine/console.py").write_text(
        (built.folder / "scripts/engine/console.py").read_text() + "\n# a comment\n"
    )
    assert built.doit().returncode == 0
    assert built.ran() == []


def test_package_version_is_part_of_the_key(built: Project) -> None:
    info = built.folder / "pydantic-99.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pydantic\nVersion: 99.0\n")
    assert built.doit().returncode == 0
    assert built.ran() == ["words", "words"]


@pytest.mark.parametrize("damage", ["truncate", "remove", "touch", "manifest", "extra file"])
def test_damaged_target_is_built_again(built: Project, damage: str) -> None:
    words = built.folder / "cache/a/words.txt"
    if damage == "truncate":
        words.write_text("")
    elif damage == "remove":
        words.unlink()
    elif damage == "touch":
        words.write_text("jello")
    elif damage == "manifest":
        (built.folder / "cache/.manifests/a.json").write_text("{")
    else:
        (built.folder / "cache/a/more.txt").write_text("?")
    done = built.doit()
    assert done.returncode == 0
    assert words.read_text() == "hello"
    assert not (built.folder / "cache/a/more.txt").exists()
    in_place = damage in ("truncate", "touch") and "other bytes" in done.stdout
    assert built.ran() == (["words"] if in_place else [])


@pytest.mark.parametrize(
    ("trouble", "code", "text"),
    [
        ("error", 1, "the tensor blk.0 is not finite; mend it\n(log: cache/logs/joined.log)"),
        ("machine", 3, "there is no compiler; install one\n(log: cache/logs/joined.log)"),
        ("crash", 1, "  | RuntimeError: boom\n(log: cache/logs/joined.log)"),
        ("kill", 3, "joined was killed (SIGKILL), most likely because memory ran out."),
        (
            "edit",
            1,
            "joined: source text of scripts.toy_words changed while the task ran, so its result "
            "was thrown away. Run doit again.",
        ),
    ],
)
def test_failure_keeps_the_old_target(built: Project, trouble: str, code: int, text: str) -> None:
    built.settings(trouble=trouble)
    failed = built.doit()
    assert failed.returncode == code
    assert text in failed.stdout
    assert (built.folder / "out/joined.txt").read_text() == "hello world"
    assert not (built.folder / "out/.scratch").exists()
    assert built.ran() == ["joined"]
    built.doit()
    assert "joined" in built.ran(), "a failure is never cached"


def test_key_that_is_kept_is_that_of_before_the_build(project: Project) -> None:
    """A source that is edited during the commit is not what the target was built from."""
    (project.folder / "driver.py").write_text(EDITS_DURING_THE_COMMIT)
    project.python("driver.py")
    assert (project.folder / "out/joined.txt").read_text() == "hello world"
    project.ran()
    assert project.doit().returncode == 0
    assert project.ran() == ["words", "words", "joined"]
    assert (project.folder / "out/joined.txt").read_text() == "hello-world"


def test_secrets_never_reach_log_or_terminal(built: Project) -> None:
    built.settings(trouble="secret")
    done = built.doit(HF_TOKEN="hf_verysecret1")
    log = (built.folder / "cache/logs/joined.log").read_text()
    assert log == "token is *** at https://***@example.org/x\n"
    assert "verysecret" not in done.stdout + done.stderr
    leaked = subprocess.run(["grep", "-r", "verysecret", "."], cwd=built.folder, check=False)
    assert leaked.returncode == 1


def test_state_is_saved_per_task_and_a_kill_leaves_no_mixture(project: Project) -> None:
    project.settings(trouble="slow")
    running = subprocess.Popen(
        [sys.executable, "-m", "doit"], cwd=project.folder, env=project.environment()
    )
    half = project.folder / f"out/.scratch/joined.txt/{running.pid}/joined.txt"
    deadline = time.monotonic() + 60
    while not half.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    running.kill()
    running.wait()
    assert not (project.folder / "out/joined.txt").exists()
    rows = sqlite3.connect(project.folder / "cache/state/doit.sqlite").execute(
        "select task_id from doit order by task_id"
    )
    assert [row[0] for row in rows] == ["words:a", "words:b"]
    project.settings()
    project.ran()
    assert project.doit().returncode == 0
    assert project.ran() == ["joined"]


def test_target_by_path_builds_only_what_it_needs(project: Project) -> None:
    done = project.doit("cache/a/")
    assert done.returncode == 0, done.stdout + done.stderr
    assert project.ran() == ["words"]


@pytest.mark.parametrize("arguments", [["nonsense"], ["--nonsense"]])
def test_usage_errors_end_with_2(project: Project, arguments: list[str]) -> None:
    done = project.doit(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_no_room_on_the_disk(built: Project) -> None:
    built.settings(a="x" * 40_000)
    limited = subprocess.run(
        ["bash", "-c", f"ulimit -f 30; {sys.executable} -m doit"],
        cwd=built.folder,
        env=built.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert limited.returncode == 3, limited.stdout + limited.stderr
    assert "no room left on the disk" in limited.stdout
    assert (built.folder / "cache/a/words.txt").read_text() == "hello"


def test_unwritable_folder(built: Project) -> None:
    (built.folder / "out").rename(built.folder / "elsewhere")
    (built.folder / "out").write_text("a file where the folder should be")
    done = built.doit()
    assert done.returncode in (1, 3)
    assert "Traceback" not in done.stdout + done.stderr
