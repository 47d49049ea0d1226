"""The locks of packages: all that pyproject.toml asks for, each file by its digest."""

import base64
import hashlib
import re
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from scripts import pins, setup
from scripts.extras import groups
from tests.checkout import ROOT

LOCKS = {extras: ROOT / lock for extras, lock in pins.LOCKS.items()}


def wanted(*, extras: bool) -> dict[str, str]:
    """By name the versions that pyproject.toml pins."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    pairs = [one.partition("==") for some in (lists if extras else lists[:1]) for one in some]
    return {
        re.sub(r"[-_.]+", "-", name.partition("[")[0].strip()).lower(): version
        for name, _, version in pairs
        if version
    }


@pytest.mark.parametrize("extras", [False, True])
def test_lock_has_what_the_project_pins(extras: bool) -> None:
    pinned = pins.pinned(LOCKS[extras])
    for name, version in wanted(extras=extras).items():
        found = pinned[name].split()[0].partition("==")[2]
        assert found.partition("+")[0] == version, f"{name}: run python -m scripts.pins"
    assert all(re.search(r" --hash=sha256:[0-9a-f]{64}\b", one) for one in pinned.values())


def test_locks_agree_and_name_no_folder_of_a_machine() -> None:
    small, large = (pins.pinned(LOCKS[extras]) for extras in (False, True))
    assert small.items() <= large.items()
    for lock in LOCKS.values():
        text = lock.read_text()
        assert "file:" not in text
        assert tomllib.loads(text)["lock-version"] == "1.0"


def test_environments_have_locks_of_their_own() -> None:
    for name, requirements in groups().items():
        text = (ROOT / pins.lock_of(name)).read_text()
        assert "file:" not in text
        pinned = pins.pinned(ROOT / pins.lock_of(name))
        for one in requirements:
            package, _, version = re.sub(r"\[.*\]", "", one).partition("==")
            found = pinned[package].split()[0].partition("+")[0]  # of PyTorch a build for CPUs
            assert found == f"{package}=={version}", f"run python -m scripts.pins {name}"
        assert all(re.search(r" --hash=sha256:[0-9a-f]{64}\b", one) for one in pinned.values())


def make_package(folder: Path) -> str:
    """A wheel of a package without anything in it; its digest."""
    info = "nothing_at_all-1.0.dist-info"
    files = {
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: nothing-at-all\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
        record += f"{name},sha256={digest.rstrip('=')},{len(text)}\n"
    wheel = folder / "nothing_at_all-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(name, text)
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def test_other_bytes_than_the_lock_s_are_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip's own check, with what setup hands it."""
    monkeypatch.chdir(tmp_path)
    digest = make_package(tmp_path)
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--find-links", str(tmp_path)]
    pip += ["--target", str(tmp_path / "site")]

    def by(sha256: str) -> dict[str, str]:
        one = f"nothing-at-all==1.0 --hash=sha256:{sha256}"
        return {"torch": one, "nothing-at-all": one}

    with pytest.raises(setup.SetupError, match="DO NOT MATCH THE HASHES"):
        setup.install_by_digest(pip, by("0" * 64))
    assert not (tmp_path / "site").exists()
    setup.install_by_digest(pip, by(digest))
    assert list((tmp_path / "site").glob("nothing_at_all*"))


def test_another_machine_has_no_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pins.platform, "machine", lambda: "aarch64")
    assert not pins.apply_here()
