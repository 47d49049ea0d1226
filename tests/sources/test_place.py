"""Copies of the user's files."""

from pathlib import Path

from scripts.sources.place import place


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
