"""Functions that torch leaves to MKL are numpy's, and say what torch's said."""

import numpy as np
import pytest
import torch

from scripts.arithmetic.torch_functions import _FUNCTIONS
from scripts.arithmetic.torch_kernels import use_canonical_kernels

GIVEN = torch.rand((50, 70), generator=torch.Generator().manual_seed(0)) * 1.2 - 0.1
CASES = {
    "float32": GIVEN,
    "turned": GIVEN.T,
    "every other": GIVEN[:, ::2],
    "float64": GIVEN.double(),
    "half": GIVEN.half(),
    "bfloat16": GIVEN.bfloat16(),
    "one number": GIVEN[3, 4],
    "none": GIVEN[:0],
    "whole numbers": torch.arange(7),
    "complex": torch.complex(GIVEN, GIVEN),
}
POWERS = (0, 0.5, 1, 1.7, 2, 3, -0.5, -1, -2)


def of_torch(name: str, given: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = getattr(torch, name)(given)
    return result


BEFORE = {(name, case): of_torch(name, CASES[case]) for name in _FUNCTIONS for case in CASES}
POWERED = {exponent: GIVEN**exponent for exponent in POWERS}
"""By torch's own kernels, while this module is loaded."""


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", _FUNCTIONS)
def test_values_are_what_they_were_but_for_rounding(name: str, case: str) -> None:
    use_canonical_kernels()
    before, given = BEFORE[name, case], CASES[case]
    now = of_torch(name, given)
    # The last bit of the type is where implementations differ.
    torch.testing.assert_close(now, before, equal_nan=True, check_stride=False)
    into = torch.empty_like(before)
    assert getattr(torch, name)(given, out=into) is into
    assert torch.equal(into.nan_to_num(), now.nan_to_num())
    if given.dtype == now.dtype:
        in_place = getattr(given.clone(), f"{name}_")()
        assert torch.equal(in_place.nan_to_num(), now.nan_to_num())


def test_a_root_is_exactly_rounded() -> None:
    use_canonical_kernels()
    given = GIVEN.abs()
    exact = np.sqrt(given.double().numpy()).astype(np.float32)  # twice the bits: rounded once
    assert np.array_equal(given.sqrt().numpy(), exact)
    assert torch.equal(given**0.5, given.sqrt())
    assert torch.equal(given.clone().pow_(0.5), given.sqrt())


@pytest.mark.parametrize("exponent", [one for one in POWERS if one != 0.5])
def test_other_powers_are_torch_s_own(exponent: float) -> None:
    use_canonical_kernels()
    assert torch.equal((GIVEN**exponent).nan_to_num(), POWERED[exponent].nan_to_num())
    in_place = GIVEN.clone().pow_(exponent)
    assert torch.equal(in_place.nan_to_num(), POWERED[exponent].nan_to_num())
    assert (torch.arange(3) ** 2).dtype == torch.int64


def test_gradients_go_through() -> None:
    use_canonical_kernels()
    given = GIVEN.abs().add(0.1).requires_grad_(True)
    given.sqrt().sum().backward()
    assert given.grad is not None
    torch.testing.assert_close(given.grad, 0.5 / given.detach().sqrt())
