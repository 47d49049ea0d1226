"""Compiled code that is kept is that of the sources as they are."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.arithmetic import compiled
from tests.checkout import ROOT

_ASK = """
import numpy as np
from scripts.methods.kernels.storage import Grid, snap
f = np.float32
none, scale, offset = np.zeros(1, f), np.array([1.1], f), np.array([1.1], f)
grid = Grid(none, none, True, False, 0, f(0), f(0), none, f(0), 1, 1)
snap(grid, scale, offset, none, none)
print(scale[0])
"""


def test_digest_is_of_every_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_FOLDERS", (tmp_path,))
    (tmp_path / "a.py").write_text("1")
    before = compiled.sources_digest()
    (tmp_path / "b.py").write_text("2")
    assert compiled.sources_digest() != before


def test_edit_of_what_is_called_reaches_the_caller(tmp_path: Path) -> None:
    """numba alone would go on with the old callee, compiled into a caller of another file."""
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts", ignore=skip)

    def ask() -> str:
        command = [sys.executable, "-c", _ASK]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert ask() == ask() == "1.0996094"
    scalars = tmp_path / "scripts/arithmetic/scalars.py"
    text = scalars.read_text()
    scalars.write_text(text.replace("else nearest\n", "else nearest + value\n"))
    assert scalars.read_text() != text
    assert ask() == "2.1996093"
