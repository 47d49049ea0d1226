"""Commit by rename, for files and folders, with and without an old target."""

import ctypes
import errno
from pathlib import Path
from types import SimpleNamespace

import pytest

from scripts.engine.build import commit as module
from scripts.engine.build.commit import commit, drop_scratch, fresh_scratch
from scripts.engine.store.files import write_atomically


@pytest.mark.parametrize("old", [None, "file", "folder"])
@pytest.mark.parametrize("new", ["file", "folder"])
def test_new_target_replaces_whatever_was_there(tmp_path: Path, old: str | None, new: str) -> None:
    target = tmp_path / "target"
    if old == "file":
        target.write_text("old")
    elif old == "folder":
        target.mkdir()
        (target / "old").write_text("old")
    scratch = fresh_scratch(target)
    fresh = scratch / "target"
    if new == "file":
        fresh.write_text("new")
    else:
        fresh.mkdir()
        (fresh / "new").write_text("new")
    commit(fresh, target)
    drop_scratch(target)
    assert (target if new == "file" else target / "new").read_text() == "new"
    assert not (tmp_path / ".scratch").exists()
    assert target.is_file() == (new == "file")
    if new == "folder":
        assert [path.name for path in target.iterdir()] == ["new"]


def test_old_kernels_get_two_renames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        module.ctypes, "CDLL", lambda *_, **__: SimpleNamespace(renameat2=lambda *_: -1)
    )
    monkeypatch.setattr(ctypes, "get_errno", lambda: errno.ENOSYS)
    target = tmp_path / "target"
    target.mkdir()
    fresh = fresh_scratch(target) / "target"
    fresh.mkdir()
    (fresh / "new").write_text("new")
    commit(fresh, target)
    assert (target / "new").read_text() == "new"


def _old_and_fresh(folder: Path) -> tuple[Path, Path]:
    target = folder / "target"
    target.mkdir()
    (target / "old").write_text("old")
    fresh = fresh_scratch(target) / "target"
    fresh.mkdir()
    return target, fresh


def test_between_two_renames_the_old_target_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "swap_at_once", lambda *_: False)
    target, fresh = _old_and_fresh(tmp_path)
    rename = Path.rename

    def killed(path: Path, to: Path) -> Path:
        if path == fresh:
            raise KeyboardInterrupt
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        commit(fresh, target)
    monkeypatch.setattr(Path, "rename", rename)
    assert not target.exists()
    fresh_scratch(target)
    assert (target / "old").read_text() == "old"


def test_a_new_target_is_not_replaced_by_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "swap_at_once", lambda *_: False)
    target, fresh = _old_and_fresh(tmp_path)
    (fresh / "new").write_text("new")
    commit(fresh, target)
    drop_scratch(target)
    assert [path.name for path in target.iterdir()] == ["new"]


def test_scratch_of_a_killed_build_is_swept(tmp_path: Path) -> None:
    (fresh_scratch(tmp_path / "target") / "half").write_text("half")
    assert not list(fresh_scratch(tmp_path / "target").iterdir())


def test_write_atomically_leaves_no_other_file(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a/b.txt", "one")
    write_atomically(tmp_path / "a/b.txt", "two")
    assert [path.read_text() for path in (tmp_path / "a").iterdir()] == ["two"]
