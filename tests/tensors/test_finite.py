"""Finite values are told from others by their bits, of every float type."""

import pytest
import torch

from scripts.tensors.finite import is_finite

TYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("bad", [torch.inf, -torch.inf, torch.nan])
@pytest.mark.parametrize("place", [0, 1 << 18, 300_000 - 1])
def test_one_value_that_is_not_finite_is_found(dtype: torch.dtype, bad: float, place: int) -> None:
    values = torch.zeros(300_000, dtype=dtype)
    assert is_finite(values)
    values[place] = bad
    assert not is_finite(values.view(300, 1000))


@pytest.mark.parametrize("dtype", TYPES)
def test_maximum_and_minimum_are_finite(dtype: torch.dtype) -> None:
    limits = torch.finfo(dtype)
    extremes = [limits.max, limits.min, limits.smallest_normal, -0.0]
    assert is_finite(torch.tensor(extremes, dtype=dtype))
    assert is_finite(torch.zeros(0, dtype=dtype))


def test_transposed_tensor() -> None:
    values = torch.zeros(8, 4).half().T
    assert is_finite(values)
