"""GPTQ on blocks that are made of groups: the scales and offsets of each group are searched for
under the loss that GPTQ leaves (Frantar et al., 2022, arXiv:2210.17323).

Weights are [columns, rows] here: one step of GPTQ works on one column, which then is contiguous.
For the columns of one group, e Uᵀ⁻¹ with U the group's part of the Cholesky factor of H⁻¹ and e
the error is what can't be compensated for by later columns, so its square is the loss.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from scripts.errors import QuantmakeError
from scripts.methods.block_grid import BlockGrid, Blocks, Rounded
from scripts.methods.gptq import damp, inverse_factor

# Blocks of k-quants, of the others, groups of Q6_K and single columns: each divides the one before.
_NESTED = (256, 32, 16, 1)
DAMPING = 0.01  # of H's mean diagonal, as in the paper's code
_ROWS = 2048  # at once, so that a group with all its candidates stays in the processor's cache
# Ranges to try: how far in, as a part of the range, lie the lowest and the highest level.
_SHRINK = ((0.0, 0.0), (0.04, 0.04), (0.09, 0.09), (0.15, 0.15), (0.1, 0.0), (0.0, 0.1))
_STRETCH = (0.8, 0.9, 1.0, 1.1)  # of the scale by which the largest weight is the last level
_REFITS = 2


@dataclass(frozen=True)
class Factor:
    """Of a Hessian: `order` [columns], in which columns are rounded, and in that order `upper`
    [columns, columns], the Cholesky factor of its inverse, in float32; `damping` was added to its
    diagonal before.
    """

    upper: Tensor
    order: Tensor
    damping: float


def factor(hessian: Tensor) -> Factor:
    """H is damped before; raises QuantmakeError where it is not positive definite even so.

    Blocks that count most come first, while there are others left to make up for their errors:
    the paper's act-order, with the columns of a block and of a group kept together.
    """
    order = _sorted(torch.arange(len(hessian)), hessian.diagonal(), _NESTED)
    damping = DAMPING * float(hessian.diagonal().mean())
    try:
        return Factor(inverse_factor(damp(hessian, DAMPING), order), order, damping)
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        raise QuantmakeError(
            f"the Hessian of a linear is not positive definite ({error}): the calibration is too "
            "short or not finite. Give it more tokens (`calibration.tokens` in the recipe)."
        ) from None


def _sorted(columns: Tensor, diagonal: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Chunks of the first of the sizes by the sum of their diagonal, and so on within each."""
    if not sizes:
        return columns
    if len(columns) % sizes[0]:
        return _sorted(columns, diagonal, sizes[1:])
    chunks = columns.view(-1, sizes[0])
    by = diagonal[chunks].sum(1).argsort(descending=True, stable=True)
    return torch.cat([_sorted(chunk, diagonal, sizes[1:]) for chunk in chunks[by]])


def gptq(weights: Tensor, factor: Factor, kind: BlockGrid) -> Rounded:
    """Round `weights` [rows, columns] to blocks of `kind`, which divides the columns; `factor` is
    that of their Hessian."""
    chunks = torch.split(weights.float(), _ROWS)
    return Rounded.of_rows([_gptq(chunk.T[factor.order], factor, kind) for chunk in chunks])


def _gptq(weights: Tensor, factor: Factor, kind: BlockGrid) -> Rounded:
    upper, order = factor.upper, factor.order
    columns, rows = weights.shape
    originals, loss = weights.clone(), torch.zeros(rows)
    # These are in the order of the columns, not in that of the rounding.
    codes = torch.empty(weights.shape, dtype=torch.uint8)
    scales, offsets = torch.empty(2, columns // kind.group, rows)
    grids: dict[int, _Scales] = {}
    for start in range(0, columns, kind.block):
        block = slice(start, start + kind.block)
        grid = _Scales.of(weights[block], upper[block, block], kind)
        grids[int(order[start]) // kind.block] = grid
        for first in range(start, start + kind.block, kind.group):
            group, rest = slice(first, first + kind.group), slice(first + kind.group, columns)
            best = _search(weights[group], upper[group, group], grid)
            weights[rest].addmm_(upper[group, rest].T, best.error, alpha=-1)
            error = originals[group] - _values(best, kind)
            loss += best.loss - factor.damping * error.square().sum(0)
            codes[order[group]] = best.codes
            place = int(order[first]) // kind.group
            scales[place], offsets[place] = best.scale, best.offset
    blocks, groups = [], kind.block // kind.group
    for place in range(columns // kind.block):
        first, among = place * kind.block, slice(place * groups, (place + 1) * groups)
        inside = codes[first : first + kind.block]
        blocks.append(grids[place].blocks(inside, scales[among].T, offsets[among].T))
    return Rounded(blocks, loss.clamp_min_(0))


@dataclass(frozen=True)
class _Group:
    """Of one group: codes uint8 [group, rows], error [group, rows], the rest [rows]."""

    codes: Tensor
    error: Tensor
    loss: Tensor
    scale: Tensor
    offset: Tensor


def _values(group: _Group, kind: BlockGrid) -> Tensor:
    """What the codes stand for, [group, rows]."""
    levels = torch.tensor(kind.levels, dtype=torch.float32)
    return levels[group.codes.long()] * group.scale + group.offset


@dataclass(frozen=True)
class _Scales:
    """The scales and offsets of a block that can be stored: FP16, or multiples of the block's.

    `scale`, `offset`: what one unit of their integers is [rows]; FP16 values.
    """

    kind: BlockGrid
    scale: Tensor | None = None
    offset: Tensor | None = None

    @classmethod
    def of(cls, weights: Tensor, upper: Tensor, kind: BlockGrid) -> "_Scales":
        """Of integers: from the scales that its groups would have in FP16."""
        free = cls(kind)
        if kind.scales is None:
            return free
        parts = [slice(i, i + kind.group) for i in range(0, kind.block, kind.group)]
        groups = [_search(weights[part], upper[part, part], free) for part in parts]
        largest = torch.stack([one.scale.abs() for one in groups]).amax(0) / kind.scales[1]
        lowest = torch.stack([one.offset for one in groups]).amin(0) / kind.scales[1]
        return cls(kind, largest.half().float(), lowest.half().float())

    def snap(self, scale: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest that can be stored."""
        if self.scale is None or self.offset is None or self.kind.scales is None:
            return scale.half().float(), offset.half().float()
        count = len(scale) // len(self.scale)  # of candidates
        unit, low = self.scale.repeat(count), self.offset.repeat(count)
        scale = ratio(scale, unit).round().clamp(*self.kind.scales) * unit
        return scale, ratio(offset, low).round().clamp(*self.kind.scales) * low

    def blocks(self, codes: Tensor, scales: Tensor, offsets: Tensor) -> Blocks:
        """Of one block: codes [block, rows]; scales and offsets [rows, groups]."""
        scale = scales[:, :1] if self.scale is None else self.scale[:, None]
        offset = offsets[:, :1] if self.offset is None else self.offset[:, None]
        return Blocks(
            codes.T.contiguous().numpy(),
            scale.half().numpy(),
            offset.half().numpy(),
            ratio(scales, scale).round().int().numpy(),
            ratio(offsets, offset).round().int().numpy(),
        )


def ratio(value: Tensor, unit: Tensor) -> Tensor:
    """value / unit, zero where the unit is zero."""
    return torch.where(unit == 0, 0, value / torch.where(unit == 0, 1, unit))


def _candidates(weights: Tensor, kind: BlockGrid) -> tuple[Tensor, Tensor]:
    """Scales and offsets to start from, [candidates · rows] each."""
    first, last = float(kind.levels[0]), float(kind.levels[-1])
    if kind.with_offset:
        high, low = weights.amax(0), weights.amin(0)
        if kind.scales:
            low = low.clamp(max=0)
        span = (high - low) / (last - first)
        scales = [span * (1 - a - b) for a, b in _SHRINK]
        return torch.cat(scales), torch.cat([low + a * (high - low) for a, _ in _SHRINK])
    largest = weights.gather(0, weights.abs().argmax(0, keepdim=True))[0]
    scales = [largest / end * factor for end in (first, last) for factor in _STRETCH]
    scale = torch.cat(scales)
    return scale, torch.zeros_like(scale)


def _search(weights: Tensor, upper: Tensor, grid: _Scales) -> _Group:
    """The best scale and offset of a group for each row, with the codes under them."""
    kind = grid.kind
    width, rows = weights.shape
    scale, offset = grid.snap(*_candidates(weights, kind))
    count = len(scale) // rows
    tried = _sweep(weights.repeat(1, count), upper, scale, offset, kind)
    choice = tried.loss.view(count, rows).argmin(0) * rows + torch.arange(rows)
    codes, error = tried.codes[:, choice], tried.error[:, choice]
    best = _Group(codes, error, tried.loss[choice], scale[choice], offset[choice])
    solved = torch.linalg.solve_triangular(upper, torch.eye(width), upper=True).T
    for _ in range(_REFITS):
        scale, offset = grid.snap(*_fit(weights, solved, best.codes, kind))
        again = _sweep(weights.clone(), upper, scale, offset, kind)
        better = again.loss < best.loss
        best = _Group(
            torch.where(better, again.codes, best.codes),
            torch.where(better, again.error, best.error),
            torch.where(better, again.loss, best.loss),
            torch.where(better, again.scale, best.scale),
            torch.where(better, again.offset, best.offset),
        )
    return best


def _sweep(
    weights: Tensor, upper: Tensor, scale: Tensor, offset: Tensor, kind: BlockGrid
) -> _Group:
    """GPTQ on the columns of one group, with given scales; `weights` is used up."""
    levels = torch.tensor(kind.levels, dtype=torch.float32)
    even = bool((levels.diff() == 1).all())
    middles = (levels[1:] + levels[:-1]) / 2
    inverse = ratio(torch.ones_like(scale), scale)
    codes = torch.empty(weights.shape, dtype=torch.uint8)
    error = torch.empty_like(weights)
    for column in range(len(weights)):
        wanted = (weights[column] - offset).mul_(inverse)
        if even:
            level = wanted.round_().clamp_(kind.levels[0], kind.levels[-1])
            codes[column] = level - kind.levels[0]
        else:
            nearest = torch.bucketize(wanted, middles)
            codes[column] = nearest
            level = levels[nearest]
        step = (weights[column] - (level * scale).add_(offset)).div_(upper[column, column])
        error[column] = step
        weights[column + 1 :].addr_(upper[column, column + 1 :], step, alpha=-1)
    return _Group(codes, error, error.square().sum(0), scale, offset)


def _fit(weights: Tensor, solved: Tensor, codes: Tensor, kind: BlockGrid) -> tuple[Tensor, Tensor]:
    """The scale and offset with the least loss for given codes: least squares in one or two
    unknowns for each row. `solved` [group, group] is U⁻¹ transposed.
    """
    level = torch.tensor(kind.levels, dtype=torch.float32)[codes.long()]
    a, w = solved @ level, solved @ weights
    aa, aw = (a * a).sum(0), (a * w).sum(0)
    if not kind.with_offset:
        return ratio(aw, aa), torch.zeros_like(aa)
    one = solved.sum(1, keepdim=True)
    a1, w1, ones = (a * one).sum(0), (w * one).sum(0), one.square().sum()
    scale = ratio(aw * ones - a1 * w1, aa * ones - a1 * a1)
    return scale, (w1 - scale * a1) / ones
