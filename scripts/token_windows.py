"""Windows of token ids in a folder: what the calibration and the reference are made of."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_FILE = "tokens.npy"


def write_windows(folder: Path, windows: NDArray[np.int32]) -> None:
    """Store token ids [windows, context]."""
    np.save(folder / _FILE, windows)


def read_windows(folder: Path) -> NDArray[np.int64]:
    """The token ids [windows, context] of a folder, as torch and onnxruntime take them."""
    windows: NDArray[np.int64] = np.load(folder / _FILE).astype(np.int64)
    return windows
