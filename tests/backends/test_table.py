"""What a machine lacks for a backend, and the one command that installs it."""

import sys
from importlib import metadata
from pathlib import Path

import pytest

from scripts.backends.compressed_tensors.format import CompressedTensors
from scripts.backends.model import load_model
from scripts.backends.table import BACKENDS, installed_by, lacking
from scripts.errors import MachineError


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with the default install alone."""

    def version(package: str) -> str:
        if package == "compressed-tensors":
            raise metadata.PackageNotFoundError
        return "1"

    monkeypatch.setattr(metadata, "version", version)


@pytest.mark.usefixtures("bare")
def test_packages_of_an_extra_come_by_its_command() -> None:
    command = "python3.11 -m scripts.setup --extra compressed-tensors"
    text = f"compressed-tensors, not installed here; install with {command}"
    assert lacking("compressed-tensors") == text
    assert CompressedTensors(format="compressed-tensors").lacks() == text
    assert [lacking(name) for name in BACKENDS if name != "compressed-tensors"] == [""] * (
        len(BACKENDS) - 1
    )
    assert installed_by("onnx") == "python3.11 -m scripts.setup"


def test_nothing_is_lacking_here() -> None:
    assert [lacking(name) for name in BACKENDS] == [""] * len(BACKENDS)


def test_loading_without_the_extra_names_its_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delitem(sys.modules, "scripts.backends.compressed_tensors.loader", raising=False)
    monkeypatch.setitem(sys.modules, "compressed_tensors", None)
    with pytest.raises(
        MachineError, match=r"with python3\.11 -m scripts\.setup --extra compressed"
    ):
        load_model("compressed-tensors", tmp_path, threads=1, context=64)
