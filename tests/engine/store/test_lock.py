"""The lock file: written as tasks end, checked with --locked, mended where it is broken."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.engine.store.local import LocalStore
from scripts.engine.store.manifest import Manifest, make_manifest
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


def other_outputs(project: Project) -> str:
    """Let the lock name other bytes than those that are built; its text."""
    data = lock_of(project)
    data["targets"]["out/joined.txt"]["outputs"][0]["sha256"] = "0" * 64
    text = json.dumps(data)
    (project.folder / "toy.lock").write_text(text)
    return text


@pytest.mark.parametrize("arguments", [[], ["--locked"]], ids=["doit", "doit --locked"])
def test_what_is_there_with_other_bytes_than_the_lock_names(
    built: Project, arguments: list[str]
) -> None:
    text = other_outputs(built)
    done = built.doit(*arguments)
    assert done.returncode == 1
    digest = (built.folder / "out/SHA256SUMS").read_text().split()[0]
    assert f"other bytes:\n  joined.txt: {'0' * 64} → {digest}" in done.stdout
    assert (built.folder / "toy.lock").read_text() == text


def test_pull_refuses_other_bytes_than_the_lock_names(built: Project, tmp_path: Path) -> None:
    shared = {"QUANTMAKE_STORE": str(tmp_path / "shared")}
    assert built.doit("push", **shared).returncode == 0
    other_outputs(built)
    for name in ("out", "cache"):
        shutil.rmtree(built.folder / name)
    done = built.doit("pull", **shared)
    assert done.returncode == 1
    assert f"other bytes:\n  joined.txt: {'0' * 64} → " in done.stdout
    assert not (built.folder / "out/joined.txt").exists()


def test_poisoned_store_is_no_artefact(built: Project, tmp_path: Path) -> None:
    key = lock_of(built)["targets"]["out/joined.txt"]["key"]
    (built.folder / "poison").write_text("evil")
    manifest = make_manifest(built.folder / "poison")
    entry = replace(manifest.files[0], path="joined.txt")
    store = LocalStore(built.folder / "cache/store")
    store.put_blobs(manifest, built.folder / "poison")
    store.put_record(key, Manifest("file", (entry,)))
    (built.folder / "out/joined.txt").unlink()
    done = built.doit()
    assert done.returncode == 1
    assert "a store gave what was never built" in done.stdout
    assert not (built.folder / "out/joined.txt").exists()


def test_stage_that_gives_other_bytes_each_time_is_refused(built: Project) -> None:
    built.settings(trouble="drift")
    assert built.doit().returncode == 0
    before = (built.folder / "out/joined.txt").read_text()
    done = built.doit("-a")
    assert done.returncode == 1
    assert "out/joined.txt is made from what toy.lock names, and came out with" in done.stdout
    (built.folder / "toy.lock").unlink()
    done = built.doit("-a")
    assert done.returncode == 1
    assert "out/joined.txt was built again from the same, and came out with" in done.stdout
    assert (built.folder / "out/joined.txt").read_text() == before


def test_push_refuses_other_bytes_of_the_same_key(built: Project, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    assert built.doit("push", QUANTMAKE_STORE=str(shared)).returncode == 0
    key = lock_of(built)["targets"]["out/joined.txt"]["key"]
    record = shared / "ac" / key
    digest = (built.folder / "out/SHA256SUMS").read_text().split()[0]
    record.write_text(record.read_text().replace(digest, "0" * 64))
    done = built.doit("push", QUANTMAKE_STORE=str(shared))
    assert done.returncode == 1
    assert f"has other bytes of the same key: joined.txt: {'0' * 64} → {digest}" in done.stdout


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
    assert "It is toy.lock.corrupt now." in done.stdout
    assert built.ran() == []
    assert (built.folder / "toy.lock").read_text() == before
    assert (built.folder / "toy.lock.corrupt").read_text() == text


CONFLICT = "<<<<<<< ours\n{}\n=======\n{}\n>>>>>>> theirs\n"


@pytest.mark.parametrize("command", ["run", "plan", "verify", "why joined", "pull", "gc"])
@pytest.mark.parametrize("text", [CONFLICT, "{"], ids=["conflict", "broken"])
def test_lock_that_cannot_be_read_stays_where_it_is(
    built: Project, command: str, text: str, tmp_path: Path
) -> None:
    """Who only reads moves nothing away; a merge is for people to resolve."""
    (built.folder / "toy.lock").write_text(text)
    done = built.doit(*command.split(), QUANTMAKE_STORE=str(tmp_path / "shared"))
    if (command, text) == ("run", "{"):
        return
    assert (built.folder / "toy.lock").read_text() == text
    assert "Traceback" not in done.stdout + done.stderr
    if command not in ("plan", "why joined"):
        assert done.returncode == 1
        said = "toy.lock:1: a merge was left unresolved" if text == CONFLICT else "can't be read"
        assert said in done.stdout + done.stderr


def test_two_writers_lose_nothing(built: Project) -> None:
    (built.folder / "writer.py").write_text(
        "import sys\nfrom pathlib import Path\n"
        "from scripts.engine.store.lock import LockFile\n"
        "from scripts.engine.store.manifest import Manifest\n"
        "for number in range(100):\n"
        "    target = Path(f'out/{sys.argv[1]}{number}')\n"
        "    LockFile(Path('toy.lock')).write(target, {}, '0', Manifest('file', ()))\n"
    )
    writers = [
        subprocess.Popen(
            [sys.executable, "writer.py", name], cwd=built.folder, env=built.environment()
        )
        for name in "ab"
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert len(lock_of(built)["targets"]) == 201


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
