"""torch's matrix products by `scripts.arithmetic.products`: in a model, and in its gradients.

Products of float64 are numpy's; those of halves are computed in float32.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from scripts.arithmetic.products import add_product


def _start(shape: tuple[int, ...], start: Tensor, beta: float, dtype: torch.dtype) -> Tensor:
    """beta · `start`, spread over `shape`: what products are added to."""
    if beta == 0:
        return torch.zeros(shape, dtype=dtype)
    spread = start.detach().expand(shape)
    return spread.clone(memory_format=torch.contiguous_format) if beta == 1 else spread * beta


def _add(total: Tensor, left: Tensor, right: Tensor, alpha: float) -> Tensor:
    """`total` [.., M, N] + alpha · left [.., M, K] right [.., K, N], in place where it can be."""
    left, right = left.detach(), right.detach()
    if total.dtype == torch.float64 or not total.dtype.is_floating_point:
        product = torch.from_numpy(np.matmul(left.numpy(), right.numpy()))
        return total.add_(product, alpha=alpha)
    sums = total.float().contiguous()
    arrays = (sums.detach().numpy(), left.float().numpy(), right.float().numpy())
    for sum_, one, other in zip(*arrays, strict=True) if total.dim() == 3 else [arrays]:
        add_product(sum_, one, other, alpha)
    return sums if sums is total else total.copy_(sums)


def _shape(left: Tensor, right: Tensor) -> tuple[int, ...]:
    return (*left.shape[:-1], right.shape[-1])


def _product(left: Tensor, right: Tensor) -> Tensor:
    """`mm` and `bmm`."""
    return _add(torch.zeros(_shape(left, right), dtype=left.dtype), left, right, 1)


def _product_out(left: Tensor, right: Tensor, *, out: Tensor) -> Tensor:
    return _written(_product(left, right), out)


def _sum(
    start: Tensor, left: Tensor, right: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """`addmm` and `baddbmm`."""
    return _add(_start(_shape(left, right), start, beta, left.dtype), left, right, alpha)


def _sum_in_place(
    total: Tensor, left: Tensor, right: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    if beta != 1:
        total.copy_(_start(tuple(total.shape), total, beta, total.dtype))
    return _add(total, left, right, alpha)


def _sum_out(
    start: Tensor, left: Tensor, right: Tensor, *, beta: float = 1, alpha: float = 1, out: Tensor
) -> Tensor:
    return _written(_sum(start, left, right, beta=beta, alpha=alpha), out)


def _written(result: Tensor, out: Tensor) -> Tensor:
    if out.shape != result.shape:
        out.resize_(result.shape)
    return out.copy_(result)


KERNELS: dict[str, Callable[..., Tensor]] = {
    **dict.fromkeys(("mm", "bmm"), _product),
    **dict.fromkeys(("mm.out", "bmm.out"), _product_out),
    **dict.fromkeys(("addmm", "baddbmm"), _sum),
    **dict.fromkeys(("addmm_", "baddbmm_"), _sum_in_place),
    **dict.fromkeys(("addmm.out", "baddbmm.out"), _sum_out),
}
"""By the names of aten's operators."""
