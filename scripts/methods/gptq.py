"""GPTQ: rounding a weight so that its outputs, not its entries, stay close; for any grid.

Frantar, Ashkboos, Hoefler, Alistarh: GPTQ, ICLR 2023 (arXiv:2210.17323). Of each column's rounding
error, what the columns not yet rounded can make up for is spread over them by the inverse of the
Hessian H = XᵀX / n of the layer's inputs. The grid is searched beforehand, so the columns can be
taken in the order of their importance although blocks are stored in order.

Two steps beyond the paper, both descending in the paper's own objective tr((W - Q) H (W - Q)ᵀ):
least squares for the scales of each row with its levels fixed, and coordinate descent over the
columns with the scales fixed. No library does this on block grids with zero points or on NF4's, so
it is written here.

Weights are [N, K], one row per output. Each entry of Q is a level times the scale of its block,
which is a run of columns of one row. A grid whose blocks have offsets that stay as they are can
be given the weight less these offsets.
"""

from collections.abc import Callable
from typing import Protocol, Self, TypeVar

import torch

_BATCH = 128


class Columns(Protocol):
    """A grid column by column: what the entries of a weight can become.

    `scales` are [K, N], so that each column of the weight lies in one piece of memory.
    """

    @property
    def scales(self) -> torch.Tensor: ...

    def nearest(self, at: int, wanted: torch.Tensor) -> torch.Tensor:
        """The levels [N] with which column `at` comes nearest to `wanted` [N]."""


class Grid(Protocol):
    """What a weight [N, K] can become, block by block, as it will be stored.

    `scales` [N, K / block_size] are those that the runtime will compute with.
    """

    @property
    def scales(self) -> torch.Tensor: ...
    @property
    def block_size(self) -> int: ...

    def columns(self, index: torch.Tensor | slice) -> Columns:
        """The columns `index` of the weight, in that order."""

    def refitted(self, scales: torch.Tensor) -> Self:
        """The same grid with the nearest scales that can be stored to `scales`
        [N, K / block_size]; where one is not usable (not finite, not above zero), the old stays.
        """

    def in_rows(self, rows: torch.Tensor, other: Self) -> Self:
        """The scales of `other`, which is this grid refitted, where `rows` [N, 1] is true."""


G = TypeVar("G", bound=Grid)


def gptq(
    weight: torch.Tensor,
    hessian: torch.Tensor,
    search: Callable[[torch.Tensor], G],
    *,
    damping: float,
    rounds: int,
) -> tuple[torch.Tensor, G]:
    """Levels [N, K] and their grid for a weight [N, K] and H [K, K], all float32.

    `search` gives the grid for the importance [K] of the columns, `damping` is the share of H's
    mean diagonal that is added to it, `rounds` counts the refinements after the paper's pass. A
    column that is never fed anything (H's diagonal is 0) is rounded to nearest. Raises
    torch.linalg.LinAlgError where the damped H is not positive definite.
    """
    damped = damp(hessian, damping)
    order, factor = inverse_factor_order(damped)
    grid = search(damped.diagonal())
    levels = compensate(weight, order, factor, grid.columns(order))
    return refine(weight, levels, grid, damped, rounds)


def refine(
    weight: torch.Tensor, levels: torch.Tensor, grid: G, hessian: torch.Tensor, rounds: int
) -> tuple[torch.Tensor, G]:
    """Levels [N, K] and a grid with no more loss in any row: the scales by least squares, then one
    sweep over the columns, `rounds` times."""
    best = loss(weight, values(levels, grid), hessian)
    for _ in range(rounds):
        wanted = least_squares_scales(weight, levels, grid.block_size, hessian)
        refit = grid.refitted(wanted)
        moved = descend(weight, levels, refit.columns(slice(None)), hessian)
        now = loss(weight, values(moved, refit), hessian)
        # Row by row: scales that had to be rounded to be stored may make one row worse.
        better = (now < best)[:, None]
        levels = torch.where(better, moved, levels)
        grid = grid.in_rows(better, refit)
        best = torch.minimum(best, now)
    return levels, grid


def values(levels: torch.Tensor, grid: Grid) -> torch.Tensor:
    """The weight [N, K] that levels [N, K] stand for."""
    return levels * grid.scales[:, torch.arange(levels.shape[1]) // grid.block_size]


def damp(hessian: torch.Tensor, share: float) -> torch.Tensor:
    """H with `share` of its mean diagonal added to the diagonal, so that it can be inverted."""
    damped = hessian.clone()
    damped.diagonal().add_(share * hessian.diagonal().mean())
    return damped


def inverse_factor_order(hessian: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The columns in the order of H's diagonal, the largest first, and the upper Cholesky factor
    of H's inverse in that order. Raises torch.linalg.LinAlgError where H is not positive definite.
    """
    order = torch.argsort(hessian.diagonal(), descending=True, stable=True)
    return order, inverse_factor(hessian, order)


def inverse_factor(hessian: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """The upper Cholesky factor [K, K] of H's inverse, float32, the columns in the order `order`.
    Raises torch.linalg.LinAlgError where H is not positive definite."""
    sorted_ = hessian[order][:, order].double()
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(sorted_))
    factor: torch.Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor.float()


def compensate(
    weight: torch.Tensor, order: torch.Tensor, factor: torch.Tensor, columns: Columns
) -> torch.Tensor:
    """The paper's pass over the columns, in batches; levels [N, K] in the weight's order.

    `columns` are those of the grid in the order `order`.
    """
    # Columns are the rows of transposed copies, so that each lies in one piece of memory.
    left = weight[:, order].T.contiguous()
    levels = torch.empty_like(left)
    for start in range(0, len(left), _BATCH):
        end = min(start + _BATCH, len(left))
        errors = torch.empty_like(left[start:end])
        for at in range(start, end):
            levels[at] = columns.nearest(at, left[at])
            value = levels[at] * columns.scales[at]
            error = errors[at - start] = (left[at] - value) / factor[at, at]
            left[at + 1 : end].addr_(factor[at, at + 1 : end], error, alpha=-1)
        left[end:].addmm_(factor[start:end, end:].T, errors, alpha=-1)
    restored = torch.empty_like(levels)
    restored[order] = levels
    return restored.T.contiguous()


def loss(weight: torch.Tensor, quantised: torch.Tensor, hessian: torch.Tensor) -> torch.Tensor:
    """(W - Q) H (W - Q)ᵀ of each row of Q [N, K], [N]: the mean squared error of its output."""
    error = weight - quantised
    return (error @ hessian * error).sum(1)


def least_squares_scales(
    weight: torch.Tensor, levels: torch.Tensor, block_size: int, hessian: torch.Tensor
) -> torch.Tensor:
    """For each row the scales [N, K / block_size] with the least loss, its levels [N, K] fixed."""
    size, count = block_size, weight.shape[1] // block_size
    normal = torch.empty(len(weight), count, count)
    for block in range(count):
        part = slice(block * size, (block + 1) * size)
        product = levels[:, part] @ hessian[part] * levels
        normal[:, block] = product.reshape(len(weight), count, size).sum(-1)
    wanted = (weight @ hessian * levels).reshape(len(weight), count, size).sum(-1)
    # A block of zeros has no scale to find: 1 in its place keeps the others solvable.
    diagonal = normal.diagonal(dim1=1, dim2=2)
    diagonal += 1e-6 * diagonal.mean(1, keepdim=True) + (diagonal == 0)
    scales: torch.Tensor = torch.linalg.solve(normal.double(), wanted.double())
    return scales.float()


def descend(
    weight: torch.Tensor, levels: torch.Tensor, columns: Columns, hessian: torch.Tensor
) -> torch.Tensor:
    """One sweep of coordinate descent: each column takes the levels [N] that are best for the
    loss with all others fixed. `columns` are those of the grid in the weight's order."""
    weight, levels = weight.T.contiguous(), levels.T.contiguous()
    error = weight - levels * columns.scales
    for start in range(0, len(weight), _BATCH):
        end = min(start + _BATCH, len(weight))
        part = hessian[start:end, start:end]
        slope = hessian[start:end] @ error
        for at in range(start, end):
            inner = at - start
            target = weight[at] - error[at] + slope[inner] / part[inner, inner]
            moved = columns.nearest(at, target)
            change = (levels[at] - moved) * columns.scales[at]
            levels[at] = moved
            error[at] += change
            slope.addr_(part[inner], change)
    return levels.T.contiguous()
