"""The lock file: written as tasks end, checked with --locked, mended where it is broken."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.engine.project import Project, make_project


@pytest.fixture
def built(tmp_path: Path) -> Project:
    """A toy project, all built."""
    project = make_project(tmp_path)
    assert project.doit().returncode == 0
    project.ran()
    return project


def lock_of(project: Project) -> Any:
    """The lock as data."""
    return json.loads((project.folder / "toy.lock").read_text())


def test_lock_names_key_inputs_tools_and_outputs(built: Project) -> None:
    entry = lock_of(built)["targets"]["out/joined.txt"]
    assert len(entry["key"]) == 64
    assert set(entry["parts"]["inputs"]) == {"first", "second"}
    assert "scripts.toy_stages" in entry["parts"]["sources"]
    sums = (built.folder / "out/SHA256SUMS").read_text().split()
    assert entry["outputs"] == [{"path": "joined.txt", "sha256": sums[0], "size": 11}]


def test_locked_build_of_what_the_lock_names(built: Project) -> None:
    (built.folder / "out/joined.txt").unlink()
    done = built.doit("--locked")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (built.folder / "out/joined.txt").exists()


def test_locked_names_what_drifted_and_builds_nothing(built: Project) -> None:
    before = (built.folder / "toy.lock").read_text()
    built.settings(b="moon", trouble="none")
    done = built.doit("--locked")
    assert done.returncode == 1
    assert "out/joined.txt would not reproduce toy.lock. What drifted" in done.stdout
    assert "option trouble:  → none" in done.stdout
    assert "input second: " in done.stdout
    assert built.ran() == ["words"]
    assert (built.folder / "toy.lock").read_text() == before


def test_locked_checks_what_is_built_already(built: Project) -> None:
    data = lock_of(built)
    data["targets"]["out/joined.txt"]["key"] = "0" * 64
    data["targets"]["out/joined.txt"]["parts"]["packages"] = {"toy": "1.0"}
    (built.folder / "toy.lock").write_text(json.dumps(data))
    done = built.doit("--locked")
    assert done.returncode == 1
    assert "version of package toy: 1.0 → (none)" in done.stdout


def test_locked_refuses_other_bytes_from_the_same_key(built: Project) -> None:
    data = lock_of(built)
    data["targets"]["out/joined.txt"]["outputs"][0]["sha256"] = "0" * 64
    (built.folder / "toy.lock").write_text(json.dumps(data))
    (built.folder / "out/joined.txt").unlink()
    done = built.doit("--locked")
    assert done.returncode == 1
    assert "came out with other bytes:\n  joined.txt: 0000" in done.stdout
    assert not (built.folder / "out/joined.txt").exists()


def test_locked_without_an_entry(built: Project) -> None:
    (built.folder / "toy.lock").unlink()
    done = built.doit("--locked")
    assert done.returncode == 1
    assert "toy.lock has no entry for out/joined.txt" in done.stdout
    assert not (built.folder / "toy.lock").exists()


@pytest.mark.parametrize("text", ["", "{", '{"targets": {"x": {}}}', "[]", '{"targets": null}'])
def test_corrupt_lock_is_put_aside_and_written_anew(built: Project, text: str) -> None:
    before = (built.folder / "toy.lock").read_text()
    (built.folder / "toy.lock").write_text(text)
    done = built.doit()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "toy.lock can't be read" in done.stdout
    assert "it was put aside as toy.lock.corrupt" in done.stdout
    assert built.ran() == []
    assert (built.folder / "toy.lock").read_text() == before
    assert (built.folder / "toy.lock.corrupt").read_text() == text


def test_lock_that_was_removed_is_written_anew(built: Project) -> None:
    before = (built.folder / "toy.lock").read_text()
    (built.folder / "toy.lock").unlink()
    assert built.doit().returncode == 0
    assert built.ran() == []
    assert (built.folder / "toy.lock").read_text() == before


def test_entries_of_other_targets_go(built: Project) -> None:
    before = lock_of(built)
    data = lock_of(built)
    data["targets"]["out/old.txt"] = data["targets"]["out/joined.txt"]
    (built.folder / "toy.lock").write_text(json.dumps(data))
    assert built.doit().returncode == 0
    assert lock_of(built) == before


def test_verify_compares_with_the_lock(built: Project) -> None:
    data = lock_of(built)
    data["targets"]["out/joined.txt"]["outputs"][0]["sha256"] = "0" * 64
    (built.folder / "toy.lock").write_text(json.dumps(data))
    done = built.doit("verify")
    assert done.returncode == 1
    assert "out/joined.txt: is not what toy.lock names" in done.stdout


def test_reproduce_says_so_byte_for_byte(built: Project) -> None:
    done = built.doit("reproduce")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "  ✓ joined: 1 files, 11 bytes, the same byte for byte\n"
    assert built.ran() == ["joined"]
    assert not (built.folder / "out/.scratch").exists()


def test_reproduce_of_something_else(built: Project) -> None:
    joined = built.folder / "out/joined.txt"
    manifest = built.folder / "out/.manifests/joined.txt.json"
    digest = (built.folder / "out/SHA256SUMS").read_text().split()[0]
    manifest.write_text(manifest.read_text().replace(digest, "0" * 64))
    done = built.doit("reproduce", "out/joined.txt")
    assert done.returncode == 1
    assert f"✗ joined: 1 files differ\n      joined.txt: {'0' * 64} → {digest}" in done.stdout
    assert joined.exists()


def test_reproduce_of_what_is_not_built(tmp_path: Path) -> None:
    done = make_project(tmp_path).doit("reproduce", "joined")
    assert done.returncode == 1
    assert "✗ joined: it is not built; run doit first" in done.stdout
