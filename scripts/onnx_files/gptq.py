"""GPTQ: rounding a weight so that its outputs, not its entries, stay close.

Frantar, Ashkboos, Hoefler, Alistarh: GPTQ, ICLR 2023 (arXiv:2210.17323). Of each column's rounding
error, what the columns not yet rounded can make up for is spread over them by the inverse of the
Hessian H = XᵀX / n of the layer's inputs. The grid is searched beforehand, so the columns can be
taken in the order of their importance although blocks are stored in order.

Two steps beyond the paper, both descending in the paper's own objective tr((W - Q) H (W - Q)ᵀ):
least squares for the scales of each row with its whole numbers fixed, and coordinate descent over
the columns with the scales fixed. No library does this on block grids with zero points, so it is
written here.
"""

from dataclasses import dataclass

import torch

from scripts.onnx_files.grid import Grid, nearest, search, with_scales

_BATCH = 128


@dataclass(frozen=True)
class Settings:
    """`damping` is the share of H's mean diagonal that is added to it; `rounds` counts the
    refinements after the paper's pass."""

    bits: int
    block_size: int
    symmetric: bool
    damping: float
    rounds: int


def gptq(
    weight: torch.Tensor, hessian: torch.Tensor, settings: Settings
) -> tuple[torch.Tensor, Grid]:
    """Whole numbers [N, K] and their grid for a weight [N, K] and H [K, K], all float32.

    A column that is never fed anything (H's diagonal is 0) is rounded to nearest.
    """
    damped = damp(hessian, settings.damping)
    factor = inverse_factor_order(damped)
    grid = search(
        weight,
        damped.diagonal(),
        bits=settings.bits,
        block_size=settings.block_size,
        symmetric=settings.symmetric,
    )
    numbers = compensate(weight, *factor, grid)
    best = loss(weight, numbers, grid, damped)
    for _ in range(settings.rounds):
        refit = with_scales(grid, least_squares_scales(weight, numbers, grid, damped))
        moved = descend(weight, numbers, refit, damped)
        now = loss(weight, moved, refit, damped)
        # Row by row: scales that had to be rounded to float16 may make one row worse.
        better = (now < best)[:, None]
        numbers = torch.where(better, moved, numbers)
        grid = Grid(
            torch.where(better, refit.scales, grid.scales),
            torch.where(better, refit.zeros, grid.zeros),
            grid.bits,
            grid.block_size,
        )
        best = torch.minimum(best, now)
    return numbers, grid


def damp(hessian: torch.Tensor, share: float) -> torch.Tensor:
    """H with `share` of its mean diagonal added to the diagonal, so that it can be inverted."""
    damped = hessian.clone()
    damped.diagonal().add_(share * hessian.diagonal().mean())
    return damped


def inverse_factor_order(hessian: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The columns in the order of H's diagonal, greatest first, and the upper Cholesky factor
    of H's inverse in that order."""
    order = torch.argsort(hessian.diagonal(), descending=True, stable=True)
    sorted_ = hessian[order][:, order].double()
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(sorted_))
    return order, torch.linalg.cholesky(inverse, upper=True).float()


def compensate(
    weight: torch.Tensor, order: torch.Tensor, factor: torch.Tensor, grid: Grid
) -> torch.Tensor:
    """The paper's pass over the columns, in batches; whole numbers [N, K] in the weight's order."""
    # Columns are the rows of transposed copies, so that each lies in one piece of memory.
    scales, zeros = (part.T.contiguous() for part in grid.columns(order))
    left = weight[:, order].T.contiguous()
    numbers = torch.empty_like(left)
    for start in range(0, len(left), _BATCH):
        end = min(start + _BATCH, len(left))
        errors = torch.empty_like(left[start:end])
        for at in range(start, end):
            numbers[at] = nearest(left[at], scales[at], zeros[at], grid.bits)
            value = (numbers[at] - zeros[at]) * scales[at]
            error = errors[at - start] = (left[at] - value) / factor[at, at]
            left[at + 1 : end].addr_(factor[at, at + 1 : end], error, alpha=-1)
        left[end:].addmm_(factor[start:end, end:].T, errors, alpha=-1)
    restored = torch.empty_like(numbers)
    restored[order] = numbers
    return restored.T.contiguous()


def loss(
    weight: torch.Tensor, numbers: torch.Tensor, grid: Grid, hessian: torch.Tensor
) -> torch.Tensor:
    """(W - Q) H (W - Q)ᵀ of each row, [N]: the mean squared error of its output."""
    error = weight - grid.values(numbers)
    return (error @ hessian * error).sum(1)


def least_squares_scales(
    weight: torch.Tensor, numbers: torch.Tensor, grid: Grid, hessian: torch.Tensor
) -> torch.Tensor:
    """For each row the scales [N, K / block_size] with the least loss, its numbers fixed."""
    size, count = grid.block_size, grid.scales.shape[1]
    steps = numbers - grid.columns(slice(None))[1]
    normal = torch.empty(len(weight), count, count)
    for block in range(count):
        part = slice(block * size, (block + 1) * size)
        product = steps[:, part] @ hessian[part] * steps
        normal[:, block] = product.reshape(len(weight), count, size).sum(-1)
    wanted = (weight @ hessian * steps).reshape(len(weight), count, size).sum(-1)
    # A block of zeros has no scale to find: 1 in its place keeps the others solvable.
    diagonal = normal.diagonal(dim1=1, dim2=2)
    diagonal += 1e-6 * diagonal.mean(1, keepdim=True) + (diagonal == 0)
    found: torch.Tensor = torch.linalg.solve(normal.double(), wanted.double())
    return found.float()


def descend(
    weight: torch.Tensor, numbers: torch.Tensor, grid: Grid, hessian: torch.Tensor
) -> torch.Tensor:
    """One sweep of coordinate descent: each column takes the numbers that are best for the loss
    with all others fixed."""
    scales, zeros = (part.T.contiguous() for part in grid.columns(slice(None)))
    weight, numbers = weight.T.contiguous(), numbers.T.contiguous()
    error = weight - (numbers - zeros) * scales
    for start in range(0, len(weight), _BATCH):
        end = min(start + _BATCH, len(weight))
        part = hessian[start:end, start:end]
        slope = hessian[start:end] @ error
        for at in range(start, end):
            inner = at - start
            target = weight[at] - error[at] + slope[inner] / part[inner, inner]
            found = nearest(target, scales[at], zeros[at], grid.bits)
            change = (numbers[at] - found) * scales[at]
            numbers[at] = found
            error[at] += change
            slope.addr_(part[inner], change)
    return numbers.T.contiguous()
