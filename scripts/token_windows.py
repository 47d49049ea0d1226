"""Windows of token ids in a folder: what the calibration and the reference are made of."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_FILE = "tokens.npy"
_KINDS = "kinds.json"


def write_windows(folder: Path, windows: NDArray[np.int32]) -> None:
    """Store token ids [windows, context]."""
    np.save(folder / _FILE, windows)


def read_windows(folder: Path) -> NDArray[np.int64]:
    """The token ids [windows, context] of a folder, as torch and onnxruntime take them."""
    windows: NDArray[np.int64] = np.load(folder / _FILE).astype(np.int64)
    return windows


def write_kinds(folder: Path, windows: Mapping[str, int]) -> None:
    """Store of what kinds of text the windows of a folder are, in order, and how many of each."""
    (folder / _KINDS).write_text(json.dumps(list(windows.items())) + "\n")


def read_kinds(folder: Path) -> dict[str, slice]:
    """Which windows of a folder are of each kind of text, in order."""
    kinds, end = dict[str, slice](), 0
    for kind, count in json.loads((folder / _KINDS).read_text()):
        kinds[kind] = slice(end, end + count)
        end += count
    return kinds
