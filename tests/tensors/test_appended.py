"""Files written tensor by tensor are read by safetensors."""

from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from scripts.tensors.appended import Appended


def test_the_library_reads_it(tmp_path: Path) -> None:
    values = {"b": np.ones((2, 3), np.float32), "a": np.arange(4, dtype=np.float32)}
    path = tmp_path / "x.safetensors"
    with Appended(path, 400) as file:
        for name, value in values.items():
            file.add(name, value)
        file.finish({"shared": "{}"})
    assert {name: array.tolist() for name, array in load_file(path).items()} == {
        name: value.tolist() for name, value in values.items()
    }
    with safe_open(path, "np") as stored:
        assert stored.metadata() == {"shared": "{}"}


def _write(path: Path, header_bytes: int) -> None:
    with Appended(path, header_bytes) as file:
        file.add("a", np.ones(3, np.float32))
        file.finish({})


def test_file_is_gone_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the header takes \d+ bytes, but 8 were left for it"):
        _write(tmp_path / "x", 8)
    assert list(tmp_path.iterdir()) == []
