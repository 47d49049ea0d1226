"""`path:` sources, and copies of the user's files."""

from pathlib import Path

import pytest

from scripts.errors import QuantmakeError
from scripts.sources.local import fetch, place


def test_a_file_is_copied_under_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.gguf").write_bytes(b"GGUF")
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    fetch("path:in/a.gguf", tmp_path / "out", False)
    assert (tmp_path / "out" / "a.gguf").read_bytes() == b"GGUF"


def test_of_a_folder_only_the_model_is_copied(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "model.safetensors", "model.py", "optimizer.pt", "notes.txt"):
        (model / name).write_text(name)
    (tmp_path / "out").mkdir()
    fetch(f"path:{model}", tmp_path / "out", False)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]


def test_a_models_code_is_copied_where_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for name in ("model.safetensors", "model.py"):
        (tmp_path / "model" / name).touch()
    (tmp_path / "out").mkdir()
    fetch(f"path:{tmp_path}/model", tmp_path / "out", True)
    assert (tmp_path / "out" / "model.py").is_file()


def test_a_missing_path_says_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(QuantmakeError) as error:
        fetch("path:nowhere", tmp_path, False)
    assert str(error.value) == (
        f"path:nowhere: there is no such file or folder; the path is relative to {tmp_path}"
    )


def test_a_copy_is_another_file_with_the_same_bytes(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_bytes(b"x" * 5000)
    place(source, tmp_path / "sub" / "b")
    assert (tmp_path / "sub" / "b").read_bytes() == source.read_bytes()
    assert (tmp_path / "sub" / "b").stat().st_ino != source.stat().st_ino
    assert source.stat().st_nlink == 1


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "blob").write_text("hello")
    (tmp_path / "link").symlink_to("blob")
    place(tmp_path / "link", tmp_path / "copy")
    assert not (tmp_path / "copy").is_symlink()
    assert (tmp_path / "copy").read_text() == "hello"
