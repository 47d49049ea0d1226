"""torch's square root, logarithms and inverse trigonometric functions by numpy's.

torch calls MKL's vector mathematics for these (aten/src/ATen/cpu/vml.h), whose path for all
processors starts from the processor's own approximate reciprocals (rcpps, rsqrtps): AMD, Intel and
emulators differ in the last bit, even of a square root.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "sqrt": np.sqrt,
    "log": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
}
_COMPUTED_IN = {
    one: one for one in (torch.float32, torch.float64, torch.complex64, torch.complex128)
}


def _values(function: Callable[[Any], Any], given: Tensor) -> Tensor:
    """Halves are computed in float32; whole numbers give floats, as torch's own do."""
    is_float = given.dtype.is_floating_point or given.dtype.is_complex
    dtype = given.dtype if is_float else torch.get_default_dtype()
    exact = given.detach().to(_COMPUTED_IN.get(dtype, torch.float32))
    with np.errstate(all="ignore"):  # torch says nothing of the root of a negative number
        return torch.from_numpy(np.asarray(function(exact.numpy(force=True)))).to(dtype)


def _written(result: Tensor, out: Tensor) -> Tensor:
    if out.shape != result.shape:
        out.resize_(result.shape)
    return out.copy_(result)


def _kernels(name: str, function: Callable[[Any], Any]) -> dict[str, Callable[..., Tensor]]:
    def new(given: Tensor) -> Tensor:
        return _values(function, given)

    def in_place(given: Tensor) -> Tensor:
        return given.copy_(_values(function, given))

    def into(given: Tensor, *, out: Tensor) -> Tensor:
        return _written(_values(function, given), out)

    return {name: new, f"{name}_": in_place, f"{name}.out": into}


def _power(given: Tensor, exponent: float) -> Tensor:
    """torch computes the power ½ as a square root, and the others by itself."""
    if exponent == 0.5:
        return given.sqrt()
    dtype = torch.result_type(given, exponent)
    return torch.pow(given, exponent, out=torch.empty_like(given, dtype=dtype))


def _power_in_place(given: Tensor, exponent: float) -> Tensor:
    return given.copy_(_power(given, exponent))


KERNELS: dict[str, Callable[..., Tensor]] = {
    kernel: call
    for name, function in _FUNCTIONS.items()
    for kernel, call in _kernels(name, function).items()
} | {"pow.Tensor_Scalar": _power, "pow_.Scalar": _power_in_place}
"""By the names of aten's operators."""
