"""Manifests are deterministic; the fast check notices whatever changes sizes, names or times."""

import os
from pathlib import Path

import pytest

from scripts.engine.build.commit import commit
from scripts.engine.store.manifest import Manifest, fingerprint, make_manifest, manifest_path
from scripts.errors import QuantmakeError


def make_folder(folder: Path) -> Path:
    """A folder with two files, one of them in a sub-folder."""
    (folder / "sub").mkdir(parents=True)
    (folder / "b.txt").write_text("b")
    (folder / "sub/a.txt").write_text("aa")
    return folder


def test_manifest_lists_files_sorted_and_round_trips(tmp_path: Path) -> None:
    manifest = make_manifest(make_folder(tmp_path / "x"))
    assert [(entry.path, entry.size) for entry in manifest.files] == [
        ("b.txt", 1),
        ("sub/a.txt", 2),
    ]
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert manifest == make_manifest(make_folder(tmp_path / "y")), "no path, no time in it"


def test_links_are_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "x")
    (folder / "link").symlink_to("b.txt")
    with pytest.raises(QuantmakeError, match="link is a symbolic link; a target holds plain files"):
        make_manifest(folder)


def test_links_to_folders_are_refused_too(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "x")
    (folder / "linked").symlink_to("sub", target_is_directory=True)
    with pytest.raises(QuantmakeError, match="linked is a symbolic link; a target holds plain"):
        make_manifest(folder)


def test_fingerprint_of_a_whole_target(tmp_path: Path) -> None:
    target = tmp_path / "target"
    commit(make_folder(tmp_path / "new"), target)
    first = fingerprint(target)
    assert first is not None
    assert fingerprint(target) == first
    os.utime(target / "b.txt", (1, 1))
    assert fingerprint(target) != first


@pytest.mark.parametrize("name", ["b.txt", "sub/a.txt"])
def test_fingerprint_of_a_damaged_target_is_none(tmp_path: Path, name: str) -> None:
    target = tmp_path / "target"
    commit(make_folder(tmp_path / "new"), target)
    (target / name).write_text("longer than before")
    assert fingerprint(target) is None
    (target / name).unlink()
    assert fingerprint(target) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kind": "folder"}', '{"kind": 1, "files": [1]}'])
def test_broken_manifest_counts_as_none(tmp_path: Path, text: str) -> None:
    target = tmp_path / "target"
    commit(make_folder(tmp_path / "new"), target)
    manifest_path(target).write_text(text)
    assert fingerprint(target) is None
