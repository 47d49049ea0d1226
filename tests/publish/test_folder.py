"""Publishing into a folder: all of it or nothing."""

from pathlib import Path

import pytest

from scripts.engine.store.manifest import sha256_of
from scripts.errors import QuantmakeError
from scripts.publish import folder as publishing
from scripts.publish.folder import Folder
from scripts.publish.package import Package
from tests.publish.packages import FILES, contents, make_package


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    monkeypatch.chdir(tmp_path)
    return make_package(tmp_path / "package")


def found(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_folder_holds_the_package_and_nothing_is_left_beside_it(
    package: Package, tmp_path: Path
) -> None:
    place = Folder(tmp_path / "out/toy")
    assert place.missing(package) == package.files
    assert not (tmp_path / "out").exists()
    place.send(package)
    assert found(tmp_path / "out/toy") == contents(package)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["toy"]
    assert place.missing(package) is None


def test_new_package_takes_the_place_of_the_old_one(package: Package, tmp_path: Path) -> None:
    place = Folder(tmp_path / "toy")
    place.send(package)
    (tmp_path / "toy/onnx/model.onnx").write_bytes(b"damaged")
    missing = place.missing(package)
    assert missing is not None
    assert [piece.name for piece in missing] == ["onnx/model.onnx"]
    other = {name: data for name, data in FILES.items() if name != "onnx/model.onnx"}
    changed = make_package(tmp_path / "changed", other)
    assert place.missing(changed) is not None
    place.send(changed)
    assert found(tmp_path / "toy") == contents(changed)
    assert not (tmp_path / "toy/onnx").exists()


def test_what_was_cut_short_goes_on(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, copied, copy = Folder(tmp_path / "toy"), list[str](), publishing.link_or_copy

    def count(source: Path, path: Path, *, hard_links: bool) -> None:
        if len(copied) == 3:
            copied.append("cut short")
            raise KeyboardInterrupt
        copied.append(path.name)
        copy(source, path, hard_links=hard_links)

    monkeypatch.setattr(publishing, "link_or_copy", count)
    with pytest.raises(KeyboardInterrupt):
        place.send(package)
    assert not (tmp_path / "toy").exists()
    place.send(package)
    assert found(tmp_path / "toy") == contents(package)
    assert sorted(copied) == sorted(["cut short", *(one.path.name for one in package.files)])


def test_folder_of_somebody_else_is_not_touched(package: Package, tmp_path: Path) -> None:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy/thesis.tex").write_text("mine")
    with pytest.raises(QuantmakeError) as error:
        Folder(tmp_path / "toy").missing(package)
    assert str(error.value) == (
        f"{tmp_path}/toy holds what no publication put there (thesis.tex); name a folder that is "
        "not there yet, or one that was published before"
    )
    (tmp_path / "file").write_text("mine")
    with pytest.raises(QuantmakeError, match=r"holds what no publication put there \(a file\)"):
        Folder(tmp_path / "file").missing(package)


def test_file_that_changed_is_refused(package: Package, tmp_path: Path) -> None:
    piece = package.files[2]
    piece.path.write_bytes(b"other")
    assert sha256_of(piece.path) != piece.sha256
    with pytest.raises(QuantmakeError, match="was changed while it was copied"):
        Folder(tmp_path / "toy").send(package)
    assert not (tmp_path / "toy").exists()
