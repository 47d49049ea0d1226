"""An array on disk that is written and read window by window: memory holds one at a time.

The file is NumPy's own (numpy.lib.format, version 1.0). A memory map of all of it would count
every page that was touched as this process's memory.
"""

from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def append_window(path: Path, window: NDArray[np.float32], *, number: int, count: int) -> None:
    """Write window `number` of `count`, float32 of one shape each; number 0 begins the file."""
    with path.open("ab" if number else "wb") as file:
        if number == 0:
            header = {
                "descr": np.lib.format.dtype_to_descr(window.dtype),
                "fortran_order": False,
                "shape": (count, *window.shape),
            }
            np.lib.format.write_array_header_1_0(file, header)
        file.write(np.ascontiguousarray(window).data)


def read_window(path: Path, number: int) -> NDArray[np.float32]:
    """Window `number`, as an array of its own."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        size = prod(shape[1:])
        file.seek(number * size * dtype.itemsize, 1)
        return np.fromfile(file, dtype, size).reshape(shape[1:])
