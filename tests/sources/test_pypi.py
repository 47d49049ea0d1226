"""`pypi:` sources, through pip and a folder of distributions in place of an index."""

import io
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from scripts.errors import MachineError, QuantmakeError
from scripts.sources import pypi

META = "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n"


def write_wheel(folder: Path) -> Path:
    wheel = folder / "toy-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("toy/data/text.cor", "hello wheel")
        archive.writestr("toy/__init__.py", "")
        archive.writestr("toy-1.0.dist-info/METADATA", META)
        archive.writestr("toy-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("toy-1.0.dist-info/RECORD", "")
    return wheel


def write_sdist(folder: Path, trace: Path) -> None:
    """A source distribution whose setup.py leaves a trace when it is run."""
    setup = f"open({str(trace)!r}, 'w').close()\nfrom setuptools import setup\nsetup(name='toy')\n"
    with tarfile.open(folder / "toy-1.0.tar.gz", "w:gz") as archive:
        for name, text in (
            ("toy-1.0/toy/data/text.cor", "hello sdist"),
            ("toy-1.0/PKG-INFO", META),
            ("toy-1.0/setup.py", setup),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its only index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    (tmp_path / "out").mkdir()
    return folder


def test_a_member_of_a_wheel_is_extracted_and_the_wheel_removed(
    index: Path, tmp_path: Path
) -> None:
    write_wheel(index)
    pypi.fetch("pypi:toy==1.0/toy/data/text.cor", tmp_path / "out", False)
    assert (tmp_path / "out" / "text.cor").read_text() == "hello wheel"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index", "out"]


def test_an_unknown_version_is_told_with_pips_own_words(index: Path, tmp_path: Path) -> None:
    write_wheel(index)
    with pytest.raises(QuantmakeError) as error:
        pypi.fetch("pypi:toy==2.0/a", tmp_path / "out", False)
    assert not isinstance(error.value, MachineError)
    assert str(error.value).startswith("pip can't fetch a wheel of toy==2.0 (source")
    assert "1.0" in str(error.value)


def test_an_index_out_of_reach_is_the_machines_fault(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://bob:pa55word@127.0.0.1:1/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(MachineError) as error:
        pypi.fetch("pypi:toy==1.0/a", tmp_path / "out", False)
    assert str(error.value).startswith("the package index can't be reached to fetch toy==1.0; look")
    assert "pa55word" not in str(error.value)


def test_a_python_without_pip_is_told(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'python: No module named pip' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(MachineError) as error:
        pypi.fetch("pypi:toy==1.0/a", tmp_path / "out", False)
    assert str(error.value) == (
        f"this Python has no pip, which fetches toy==1.0: run `{python} -m ensurepip`"
    )


def _fetch_from(archive: Path, member: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pypi, "_download", lambda wanted, folder: archive)
    out.mkdir()
    pypi.fetch(f"pypi:toy==1.0/{member}", out, False)


def test_code_of_a_source_distribution_is_not_run(index: Path, tmp_path: Path) -> None:
    write_sdist(index, tmp_path / "trace")
    with pytest.raises(
        QuantmakeError, match=r"a wheel of toy==1\.0 \(source distributions are not"
    ):
        pypi.fetch("pypi:toy==1.0/toy/data/text.cor", tmp_path / "out", False)
    assert not (tmp_path / "trace").exists()


def test_a_missing_member_lists_near_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write_wheel(tmp_path)
    with pytest.raises(QuantmakeError) as error:
        _fetch_from(archive, "toy/text.cor", tmp_path / "out", monkeypatch)
    assert str(error.value) == (
        "toy-1.0-py3-none-any.whl has no member 'toy/text.cor' (5 files; near matches: "
        "toy/data/text.cor)"
    )


def test_a_truncated_archive_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write_wheel(tmp_path)
    archive.write_bytes(archive.read_bytes()[:90])
    with pytest.raises(QuantmakeError, match=rf"{archive.name} is damaged or cut short"):
        _fetch_from(archive, "toy/data/text.cor", tmp_path / "out", monkeypatch)


def test_a_member_that_would_fill_the_disk_is_refused(index: Path, tmp_path: Path) -> None:
    wheel = write_wheel(index)
    with zipfile.ZipFile(wheel, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("toy/zeros.bin", bytes(110_000_000))
    with pytest.raises(QuantmakeError, match=r"zeros\.bin .*would unpack to 110,000,000"):
        pypi.fetch("pypi:toy==1.0/toy/zeros.bin", tmp_path / "out", False)
    assert not list((tmp_path / "out").iterdir())
