"""A long stage goes on with what it kept when it was killed; once it is done, nothing stays."""

import os
from pathlib import Path

import pytest

from tests.engine.project import Project, make_project


@pytest.fixture
def killed(tmp_path: Path) -> Project:
    """A project whose stage was killed when it had kept something."""
    project = make_project(tmp_path)
    project.settings(trouble="resume")
    done = project.doit()
    assert done.returncode == 3
    assert "was killed (SIGKILL)" in done.stdout + done.stderr
    return project


def kept(project: Project) -> list[Path]:
    """The folders of unfinished work."""
    return list((project.folder / "cache/unfinished").glob("*"))


def test_next_run_goes_on_and_leaves_nothing(killed: Project) -> None:
    assert len(kept(killed)) == 1
    assert killed.doit().returncode == 0
    assert (killed.folder / "out/joined.txt").read_text() == "hello world"
    assert kept(killed) == []


def test_other_inputs_start_anew(killed: Project) -> None:
    killed.settings(a="Other", trouble="resume")
    assert killed.doit().returncode == 3  # its key is another one, so it finds nothing kept
    assert len(kept(killed)) == 2


def test_reproduce_does_not_trust_what_was_kept(killed: Project) -> None:
    (half,) = kept(killed)
    assert killed.doit().returncode == 0
    half.mkdir(parents=True)
    (half / "half").touch()
    done = killed.doit("reproduce", "out/joined.txt")
    assert done.returncode == 1  # it was killed where a first run is
    assert "was killed" in done.stdout


def test_gc_sweeps_what_nobody_went_on_with(killed: Project) -> None:
    (half,) = kept(killed)
    assert killed.doit("gc").returncode == 0
    assert half.exists()
    os.utime(half, (0, 0))
    assert killed.doit("gc", "--dry-run").returncode == 0
    assert half.exists()
    assert killed.doit("gc").returncode == 0
    assert not half.exists()


def test_nested_doit_hands_on_no_folder_of_another_action(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.settings(trouble="resume")
    other = tmp_path / "other"
    assert project.doit(QUANTMAKE_CHECKPOINTS=str(other)).returncode == 3
    assert not other.exists()
    assert len(kept(project)) == 1
