"""What may not be shipped is set aside and taken back; a failure that was recorded is retried."""

from pathlib import Path

import pytest

from tests.engine.project import Project, make_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path)


def aside(project: Project) -> Path:
    return project.folder / "out/.rejected/joined.txt"


def test_rejected_target_is_set_aside_and_the_build_fails(project: Project) -> None:
    (project.folder / "reject").touch()
    done = project.doit()
    assert done.returncode == 1
    assert "joined.txt is over its budget" in done.stdout
    assert aside(project).read_text() == "hello world"
    assert not (project.folder / "out/joined.txt").exists()
    assert (project.folder / "words.txt").read_text() == "hello"
    assert (project.folder / "out/SHA256SUMS").read_text() == ""
    said = project.doit("verify").stdout
    assert "joined.txt: was rejected and is kept as out/.rejected/joined.txt" in said


def test_next_doit_fails_again_without_the_work(project: Project) -> None:
    (project.folder / "reject").touch()
    project.doit()
    project.ran()
    (project.folder / "cache/store").rename(project.folder / "gone")
    assert project.doit().returncode == 1
    assert project.ran() == []
    assert aside(project).exists()


def test_allowed_again_it_comes_back_without_the_work(project: Project) -> None:
    (project.folder / "reject").touch()
    project.doit()
    project.ran()
    (project.folder / "reject").unlink()
    (project.folder / "cache/store").rename(project.folder / "gone")
    assert project.doit().returncode == 0
    assert project.ran() == []
    assert (project.folder / "out/joined.txt").read_text() == "hello world"
    assert "joined.txt" in (project.folder / "out/SHA256SUMS").read_text()
    assert not aside(project).parent.exists()
    assert "Nothing to do" in project.doit().stdout


def test_one_that_was_damaged_there_is_built_anew(project: Project) -> None:
    (project.folder / "reject").touch()
    project.doit()
    project.ran()
    (project.folder / "cache/store").rename(project.folder / "gone")
    aside(project).write_text("hello wOrld")
    (project.folder / "reject").unlink()
    assert project.doit().returncode == 0
    assert project.ran() == ["joined"]
    assert (project.folder / "out/joined.txt").read_text() == "hello world"


def test_new_build_replaces_what_was_set_aside(project: Project) -> None:
    (project.folder / "reject").touch()
    project.doit()
    project.settings(a="Goodbye")
    project.doit()
    assert aside(project).read_text() == "goodbye world"
    (project.folder / "reject").unlink()
    project.settings(a="Hallo")
    assert project.doit().returncode == 0
    assert not aside(project).exists()


def test_recorded_failure_is_tried_again_and_kept_in_no_store(project: Project) -> None:
    project.settings(trouble="unsettled")
    assert project.doit().returncode == 0
    assert "joined" in project.ran()
    assert "says that it could not be done" in project.doit("why", "joined").stdout
    assert project.doit().returncode == 0
    assert project.ran() == ["joined"]
