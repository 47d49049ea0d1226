"""`doit reproduce`: what differs is said in files, and in the stage's own terms."""

from pathlib import Path

import pytest

from tests.engine.project import Project, make_project

SAID = "difference(self, before, after):\n        return f'{before.read_text()} / {after.name}'"


@pytest.fixture
def built(tmp_path: Path) -> Project:
    project = make_project(tmp_path)
    stages = project.folder / "scripts/toy_stages.py"
    text = stages.read_text()
    stages.write_text(text.replace("    def is_settled(", f"    def {SAID}\n\n    def is_settled("))
    assert project.doit().returncode == 0
    return project


def test_same_bytes(built: Project) -> None:
    done = built.doit("reproduce")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✓ joined: 1 files, 11 bytes, the same byte for byte" in done.stdout


def test_other_bytes_by_files_and_by_what_the_stage_says(built: Project) -> None:
    built.settings(trouble="drift")
    assert built.doit().returncode == 0
    before = (built.folder / "out/joined.txt").read_text()
    done = built.doit("reproduce")
    assert done.returncode == 1
    assert "✗ joined: 1 files differ\n      joined.txt: " in done.stdout
    assert f"\n      {before} / joined.txt\n" in done.stdout
    assert (built.folder / "out/joined.txt").read_text() == before
    assert not list(built.folder.rglob(".scratch"))
