"""Products whose bits are laid down: one chain of fused multiply-adds for each entry."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from scripts.arithmetic.products import add_product, product

RNG = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def chain(total: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The definition. The product of two float32 is exact in float64, and the sum is rounded to
    float64 first, which is another rounding in one of 2^29 cases."""
    for at in range(left.shape[1]):
        exact = left[:, at : at + 1].astype(np.float64) * right[at].astype(np.float64)
        total = (total.astype(np.float64) + exact).astype(np.float32)
    return total


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1), (8, 384, 48), (9, 385, 49), (3, 1000, 5), (130, 7, 2000), (4, 24, 24), (5, 0, 3)],
)
def test_each_entry_is_one_chain_over_the_inner_index(shape: tuple[int, int, int]) -> None:
    rows, depth, columns = shape
    left, right = floats(rows, depth), floats(depth, columns)
    expected = chain(np.zeros((rows, columns), np.float32), left, right)
    assert np.array_equal(product(left, right), expected)


def test_layouts_and_threads_change_no_bit() -> None:
    left, right = floats(70, 300), floats(300, 90)
    expected = product(left, right)
    turned = product(np.asfortranarray(left), np.ascontiguousarray(right.T).T)
    assert np.array_equal(turned, expected)
    wide = np.zeros((70, 200), np.float32)
    add_product(wide[:, 50:140], left, right)
    assert np.array_equal(wide[:, 50:140], expected)
    assert not wide[:, :50].any()
    assert not wide[:, 140:].any()
    with ThreadPoolExecutor(4) as pool:
        for one in pool.map(lambda _: product(left, right), range(16)):
            assert np.array_equal(one, expected)


def test_a_row_does_not_depend_on_the_others() -> None:
    left, right = floats(33, 200), floats(200, 60)
    assert np.array_equal(product(left, right)[7:8], product(left[7:8], right))


def test_a_factor_goes_into_the_left_matrix_and_the_sum_goes_on() -> None:
    total, left, right = floats(6, 9), floats(6, 5), floats(5, 9)
    expected = chain(total.copy(), -left, right)
    add_product(total, left, right, -1)
    assert np.array_equal(total, expected)


def test_rows_in_pieces_are_refused() -> None:
    with pytest.raises(ValueError, match="not contiguous"):
        add_product(np.zeros((4, 4), np.float32).T, floats(4, 4), floats(4, 4))
