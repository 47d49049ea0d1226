"""npm's packages: pinned, fetched once, nothing kept of what is not as pinned."""

import dataclasses
import os
import stat
import tarfile
from pathlib import Path

import pytest

from scripts.demo.packages import ONNXRUNTIME, TRANSFORMERS, Package, fetched, refuse_without_npm
from scripts.errors import MachineError, QuantmakeError

WANTED = Package("@org/thing", "1.2.3", "sha512-none", ("dist/thing.js",))


def pretend_npm(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a program named npm on the PATH, and no other."""
    folder.mkdir()
    npm = folder / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(npm.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")


def archive(folder: Path) -> tuple[Path, Package]:
    """A package as npm packs it, and how it is pinned."""
    import base64
    import hashlib

    for name in ("dist/thing.js", "dist/other.js"):
        (folder / "package" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "package" / name).write_text(name)
    path = folder / "org-thing-1.2.3.tgz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder / "package", "package")
    digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    return path, dataclasses.replace(WANTED, integrity=f"sha512-{digest}")


def copying(path: Path, noted: Path) -> str:
    """A script that does what `npm pack … --pack-destination FOLDER NAME` does."""
    return f'echo "$@" >> {noted}\ncp {path} "$5/"'


def test_what_is_pinned_is_kept_and_fetched_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, package = archive(tmp_path)
    noted = tmp_path / "noted"
    pretend_npm(tmp_path / "bin", monkeypatch, copying(path, noted))
    folder = fetched(package, tmp_path / "cache")
    assert [one.relative_to(folder).as_posix() for one in folder.rglob("*.js")] == ["dist/thing.js"]
    assert fetched(package, tmp_path / "cache") == folder
    (line,) = noted.read_text().splitlines()
    assert line.endswith(" @org/thing@1.2.3")
    assert [*(tmp_path / "cache").iterdir()] == [folder]


def test_other_bytes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = archive(tmp_path)
    pretend_npm(tmp_path / "bin", monkeypatch, copying(path, tmp_path / "noted"))
    with pytest.raises(QuantmakeError, match=r"and sha512-none is pinned: the registry has other"):
        fetched(WANTED, tmp_path / "cache")
    assert [*(tmp_path / "cache").iterdir()] == []


def test_a_file_that_it_lacks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, package = archive(tmp_path)
    pretend_npm(tmp_path / "bin", monkeypatch, copying(path, tmp_path / "noted"))
    with pytest.raises(QuantmakeError, match=r"^@org/thing@1\.2\.3 has no dist/none\.js$"):
        fetched(dataclasses.replace(package, files=("dist/none.js",)), tmp_path / "cache")


def test_without_npm_the_command_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError) as caught:
        refuse_without_npm(TRANSFORMERS, ONNXRUNTIME, cache=tmp_path)
    assert str(caught.value) == (
        f"npm, which fetches @huggingface/transformers@4.3.2 and {ONNXRUNTIME}, is not installed; "
        "install it with `apt install npm`"
    )
    assert caught.value.exit_code == 3
    (tmp_path / TRANSFORMERS.folder).mkdir()
    (tmp_path / ONNXRUNTIME.folder).mkdir()
    refuse_without_npm(TRANSFORMERS, ONNXRUNTIME, cache=tmp_path)


def test_what_npm_says_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "echo 'npm warn old' >&2\necho 'npm error code ENOTFOUND' >&2\nexit 1"
    pretend_npm(tmp_path / "bin", monkeypatch, script)
    with pytest.raises(MachineError) as caught:
        fetched(WANTED, tmp_path / "cache")
    assert str(caught.value) == (
        "npm could not fetch @org/thing@1.2.3; look at the network and npm's settings (`npm config "
        "list`). npm said: npm error code ENOTFOUND"
    )
