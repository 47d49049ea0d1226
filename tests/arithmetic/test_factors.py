"""The upper factor of an inverse, and float16 rounding, against numpy's."""

import numba
import numpy as np
import pytest

from scripts.arithmetic.factors import upper_inverse_factor
from scripts.arithmetic.scalars import fma, to_float16


@pytest.mark.parametrize("size", [1, 5, 63, 64, 65, 128, 200, 577])
def test_factor_of_the_inverse(size: int) -> None:
    rng = np.random.default_rng(size)
    x = rng.normal(size=(3 * size + 5, size))
    hessian = x.T @ x / len(x) + 0.01 * np.eye(size)
    upper = upper_inverse_factor(hessian).astype(float)
    assert not np.tril(upper, -1).any()
    np.testing.assert_allclose(upper.T @ upper @ hessian, np.eye(size), atol=2e-5)


@pytest.mark.parametrize("bad", [-1.0, 0.0, np.nan, np.inf])
def test_what_is_not_positive_definite(bad: float) -> None:
    matrix = np.eye(100)
    matrix[70, 70] = bad
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        upper_inverse_factor(matrix)


@numba.njit
def _halves(values):  # type: ignore[no-untyped-def]
    for at in range(len(values)):
        values[at] = to_float16(values[at])


def test_float16_as_numpy_rounds_it() -> None:
    halves = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)
    finite = halves[np.isfinite(halves)]
    between = (np.sort(finite)[1:] + np.sort(finite)[:-1]) / 2  # ties
    rng = np.random.default_rng(0)
    some = (rng.normal(size=20000) * 10.0 ** rng.integers(-9, 6, 20000)).astype(np.float32)
    edges = np.array([65504, 65519.99, 65520, 7e4, np.inf, -np.inf, np.nan, 0, -0.0], np.float32)
    values = np.concatenate([halves, between, np.nextafter(between, np.float32(9e9)), some, edges])
    got = values.copy()
    _halves(got)
    with np.errstate(over="ignore"):
        wanted = values.astype(np.float16).astype(np.float32)
    assert np.array_equal(got, wanted, equal_nan=True)


@numba.njit
def _fused(a, b, c):  # type: ignore[no-untyped-def]
    return fma(a, b, c)


def test_fma_rounds_once() -> None:
    one = np.float32(1 + 2**-12)
    assert _fused(one, one, np.float32(-1)) == np.float32(2**-11 + 2**-24)
