"""GPTQ: rounding a weight so that its outputs, not its entries, stay close; for any grid of blocks.

Frantar, Ashkboos, Hoefler, Alistarh: GPTQ, ICLR 2023 (arXiv:2210.17323). Of each column's rounding
error, what the columns not yet rounded can make up for is spread over them by the inverse of the
Hessian H = XᵀX / n of the layer's inputs. Steps beyond the paper, all descending in its own
objective tr((W - Q) H (W - Q)ᵀ):

- The scale and offset of a group are searched for when its turn comes, under the loss that GPTQ
  leaves: with U the group's part of the Cholesky factor of H⁻¹ and e the errors of its columns,
  e U⁻¹ is what later columns can't make up for.
- Refinements: sweeps over the groups in which scale and offset move to the least squares of the
  codes, then each column to the codes that are best with all others fixed. What can't be stored or
  does not help is left as it was.

Weights are [rows, columns], one row per output; rows are independent of each other.
"""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scripts.arithmetic.factors import upper_inverse_factor
from scripts.errors import QuantmakeError
from scripts.methods.block_grid import BlockGrid, Coded, Floats, Rounded, compiled
from scripts.methods.kernels.compensate import round_columns
from scripts.methods.kernels.descend import descend_columns
from scripts.methods.kernels.search import search_scales

_ROWS = 480  # at once: a multiple of what a product's tile holds, on any processor
_KEPT = 3  # factors, for linears that read the same input
Run = Callable[[Callable[[slice], Any], Iterable[slice]], Iterable[Any]]


@dataclass(frozen=True)
class Factor:
    """Of a Hessian: `order` [columns], in which columns are rounded, and in that order `upper`
    [columns, columns], the Cholesky factor of the inverse of `hessian`, to whose diagonal `damping`
    was added before; float32.
    """

    upper: Floats
    order: NDArray[np.int64]
    hessian: Floats
    damping: np.float32


def factor(hessian: Tensor, sizes: tuple[int, ...], damping: float, of: str = "") -> Factor:
    """For H [columns, columns]; `damping` is the share of its mean diagonal that is added to it.

    Columns that count most come first, while there are others left to make up for their errors: the
    paper's act-order, with the chunks of `sizes`, the largest first, each kept together. Raises
    QuantmakeError where H, that of the inputs of the linear `of`, is not positive definite even so.
    """
    order = _sorted(torch.arange(len(hessian)), hessian.diagonal(), (*sizes, 1))
    added = np.float32(damping * float(hessian.diagonal().mean()))
    damped = hessian[order][:, order].double().numpy()
    np.fill_diagonal(damped, damped.diagonal() + added)
    try:
        upper = upper_inverse_factor(damped)
    except np.linalg.LinAlgError:
        raise QuantmakeError(
            f"the Hessian of {of or 'a linear'} is not positive definite, damped by {damping:g} of "
            "its mean diagonal: the calibration is too short or not finite. Give it more tokens "
            "(`calibration.tokens` in the recipe), or raise `damping` where the method has it."
        ) from None
    return Factor(upper, order.numpy(), np.ascontiguousarray(hessian.numpy()), added)


def _sorted(columns: Tensor, diagonal: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Chunks of the first of the sizes by the sum of their diagonal, and so on within each."""
    if not sizes:
        return columns
    if len(columns) % sizes[0]:
        return _sorted(columns, diagonal, sizes[1:])
    chunks = columns.view(-1, sizes[0])
    by = diagonal[chunks].sum(1).argsort(descending=True, stable=True)
    return torch.cat([_sorted(chunk, diagonal, sizes[1:]) for chunk in chunks[by]])


class Factors:
    """The last few factors by the names of their Hessians, each made once, whatever threads ask."""

    def __init__(self, make: Callable[[str], Factor]) -> None:
        self._make, self._lock = make, threading.Lock()
        self._made: dict[str, Future[Factor]] = {}

    def of(self, name: str) -> Factor:
        """That of one Hessian. Raises what making it raises."""
        with self._lock:
            future, is_new = self._made.get(name), name not in self._made
            if future is None:
                future = self._made[name] = Future()
                for old in list(self._made)[:-_KEPT]:
                    del self._made[old]
        if is_new:
            try:
                future.set_result(self._make(name))
            except BaseException as error:
                future.set_exception(error)
        return future.result()


def gptq(
    weights: Tensor,
    factor: Factor,
    grid: BlockGrid,
    *,
    rounds: int = 0,
    coded: Coded | None = None,
    run: Run = map,
) -> Rounded:
    """Round `weights` [rows, columns] to blocks of `grid`, which divide the columns; `factor` is
    that of their Hessian and keeps them together, `rounds` counts the refinements, `coded` says
    which scales CODED can store. `run` maps a function over rows, in several threads if it likes.
    """
    form = compiled(grid, coded)
    work = partial(_rounded, weights, factor, grid, form, coded, rounds)
    chunks = [slice(at, at + _ROWS) for at in range(0, len(weights), _ROWS)]
    return Rounded.of_rows(list(run(work, chunks)))


def _rounded(
    weights: Tensor,
    factor: Factor,
    grid: BlockGrid,
    form: Any,
    coded: Coded | None,
    rounds: int,
    rows: slice,
) -> Rounded:
    part = weights[rows].float().T.contiguous().numpy()
    columns, count = part.shape
    groups, blocks = columns // grid.group, columns // grid.columns
    codes = np.empty((columns, count), np.uint8)
    scales, offsets = (np.empty((groups, count), np.float32) for _ in range(2))
    units, lows = (np.empty((blocks, count), np.float32) for _ in range(2))
    reach = np.ascontiguousarray(coded.reach[rows].T) if coded else np.zeros((1, 1), np.float32)
    loss, gain = (np.zeros(count, np.float32) for _ in range(2))
    left = part[factor.order]
    stored = (codes, scales, offsets, units, lows)
    round_columns(form, left, factor.upper, factor.order, reach, *stored, loss)
    for _ in range(rounds):
        hessian = (factor.hessian, factor.damping)
        descend_columns(form, part, *hessian, codes, scales, offsets, reach, units, lows, gain)
        loss -= gain
    rounded = Rounded(*(np.ascontiguousarray(array.T) for array in (*stored, loss)))
    error = rounded.values(grid) - part.T
    measured = np.maximum(loss - factor.damping * np.square(error).sum(1), 0)
    return replace(rounded, loss=measured)


def best_scales(weights: Tensor, factor: Factor, grid: BlockGrid) -> Floats:
    """The scales [rows, groups] of groups that are each rounded by themselves."""
    form, groups = compiled(grid, None), weights.shape[1] // grid.group
    parts = []
    for rows in torch.split(weights, _ROWS):
        part = rows.float().T.contiguous().numpy()[factor.order]
        scales, offsets = (np.empty((groups, part.shape[1]), np.float32) for _ in range(2))
        search_scales(form, factor.upper, part, 0, scales, offsets)
        restored = np.empty_like(scales)
        restored[factor.order[:: grid.group] // grid.group] = scales
        parts.append(restored.T)
    return np.concatenate(parts)
