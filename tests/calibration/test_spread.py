"""Some windows stand for all: of each kind of text, and from everywhere in it."""

import numpy as np
import pytest

from scripts.calibration.spread import left_out, spread


def windows(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.int64)[:, None].repeat(4, 1)


@pytest.mark.parametrize("period", range(2, 16))
def test_kinds_that_alternate_are_all_seen(period: int) -> None:
    seen = spread(windows(60), 20)[:, 0]
    shares = np.bincount(seen % period, minlength=period)
    assert shares.max() <= 20 / period + 4
    assert (shares > 0).mean() >= 0.5


def test_they_come_from_everywhere_in_order() -> None:
    seen = spread(windows(240), 24)[:, 0]
    assert len(set(seen)) == 24
    assert (np.diff(seen) > 0).all()
    assert np.diff(seen).max() <= 60


def test_what_is_left_out_is_the_rest() -> None:
    taken, rest = spread(windows(60), 16)[:, 0], left_out(windows(60), 16)[:, 0]
    assert sorted([*taken, *rest]) == list(range(60))


def test_few_windows_are_all_taken_and_all_left() -> None:
    assert np.array_equal(spread(windows(5), 16), windows(5))
    assert np.array_equal(left_out(windows(5), 16), windows(5))
