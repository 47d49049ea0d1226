"""Some of the calibration's windows, from all over its texts."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)


def spread(windows: NDArray[T], count: int) -> NDArray[T]:
    """`count` of the windows [n, context], in their order; all where there are no more."""
    return windows[_places(len(windows), count)]


def left_out(windows: NDArray[T], count: int) -> NDArray[T]:
    """The windows that `spread` leaves out; all where it leaves out none."""
    rest = np.delete(windows, _places(len(windows), count), axis=0)
    return rest if len(rest) else windows


def _places(of: int, count: int) -> NDArray[np.int64]:
    # Drawn, since even steps can meet the period in which kinds of text alternate.
    drawn: NDArray[np.int64] = np.random.default_rng(0).permutation(of)[:count]
    return np.sort(drawn)
