"""An artefact whose runtime is an extra that is not installed."""

import sys
from pathlib import Path

import pytest

from scripts.backends.model import load_model
from scripts.errors import MachineError


def test_loading_without_the_extra_names_its_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delitem(sys.modules, "scripts.backends.compressed_tensors.loader", raising=False)
    monkeypatch.setitem(sys.modules, "compressed_tensors", None)
    with pytest.raises(
        MachineError, match=r"with python3\.11 -m scripts\.setup --extra compressed"
    ):
        load_model("compressed-tensors", tmp_path, threads=1, context=64)
