"""torch multiplies by our products, in models and in their gradients, and says what it said."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from scripts.arithmetic.products import product
from scripts.arithmetic.torch_kernels import use_canonical_kernels

GENERATOR = torch.Generator().manual_seed(0)


def floats(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=GENERATOR)


A, B, C = floats(70, 90), floats(90, 110), floats(70, 110)
X, Y = floats(3, 70, 90), floats(3, 90, 50)
CALLS: dict[str, Callable[[], torch.Tensor]] = {
    "mm": lambda: A @ B,
    "mm of parts": lambda: A[::2, 10:] @ B[10:, ::3],
    "mm into a part": lambda: torch.mm(A, B, out=torch.empty(70, 200)[:, 50:160]),
    "addmm": lambda: torch.addmm(C, A, B, beta=0.5, alpha=2),
    "addmm without": lambda: torch.addmm(C * torch.nan, A, B, beta=0),
    "addmm in place": lambda: C.clone().addmm_(A, B, alpha=-1),
    "addmm of no rows": lambda: C[70:].clone().addmm_(A[70:], B),
    "bmm": lambda: torch.bmm(X, Y),
    "baddbmm": lambda: torch.baddbmm(torch.ones(3, 1, 50), X, Y),
    "float64": lambda: A.double() @ B.double(),
    "half": lambda: A.half() @ B.half(),
    "whole numbers": lambda: torch.arange(6).view(2, 3) @ torch.arange(6).view(3, 2),
    "linear": lambda: nn.functional.linear(A, B.T, C[0]),
    "attention": lambda: nn.functional.scaled_dot_product_attention(
        X[None], X[None], X[None], is_causal=True
    ),
}
BEFORE = {name: call() for name, call in CALLS.items()}
"""By torch's own kernels, while this module is loaded."""


@pytest.mark.parametrize("name", CALLS)
def test_products_are_what_they_were_but_for_rounding(name: str) -> None:
    use_canonical_kernels()
    now = CALLS[name]()
    assert now.dtype == BEFORE[name].dtype
    rounding = 2e-3 if now.dtype == torch.float16 else 1e-4
    torch.testing.assert_close(now, BEFORE[name], rtol=rounding, atol=2e-4)


def test_a_linear_layer_and_its_gradients_are_canonical() -> None:
    use_canonical_kernels()
    layer, given = nn.Linear(90, 33, bias=False), floats(70, 90).requires_grad_(True)
    out = layer(given)
    by_out = floats(70, 33)
    out.backward(by_out)
    weight = layer.weight.detach().numpy()
    assert np.array_equal(out.detach().numpy(), product(given.detach().numpy(), weight.T))
    assert given.grad is not None
    assert np.array_equal(given.grad.numpy(), product(by_out.numpy(), weight))
