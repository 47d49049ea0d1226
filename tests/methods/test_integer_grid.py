"""GPTQ, HQQ and AWQ on integer grids, against the papers' formulas in float64."""

from functools import partial

import numpy as np
import pytest
import torch

from scripts.methods.awq import output_error
from scripts.methods.gptq import (
    compensate,
    damp,
    gptq,
    inverse_factor_order,
    least_squares_scales,
    loss,
    values,
)
from scripts.methods.hqq import hqq
from scripts.methods.integer_grid import GridOptions, IntegerGrid, search

ROWS, COLUMNS, SIZE = 12, 160, 32
FOUR = GridOptions(4, SIZE, symmetric=False)


@pytest.fixture
def weight() -> torch.Tensor:
    return torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def hessian() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    mix = torch.randn(COLUMNS, COLUMNS, generator=generator)
    x = torch.randn(1000, COLUMNS, generator=generator) @ mix
    return x.T @ x / len(x)


def optimal_brain_quantiser(
    w: np.ndarray, h: np.ndarray, order: list[int], grid: IntegerGrid
) -> np.ndarray:
    """Equations 2 and 3 of the paper in float64: H's inverse over the columns that are left is
    taken anew at each step, and no Cholesky factor is used."""
    w, numbers = w.copy(), np.zeros_like(w)
    scales, zeros = (part.double().numpy() for part in grid.expanded(slice(None)))
    for step, at in enumerate(order):
        left = order[step:]
        inverse = np.linalg.inv(h[np.ix_(left, left)])
        ratio = np.round(w[:, at] / scales[:, at] + zeros[:, at])
        numbers[:, at] = np.clip(ratio, 0, 2**grid.bits - 1)
        error = w[:, at] - (numbers[:, at] - zeros[:, at]) * scales[:, at]
        w[:, left] -= np.outer(error / inverse[0, 0], inverse[0])
    return numbers


def gptq_of(
    weight: torch.Tensor, hessian: torch.Tensor, options: GridOptions, rounds: int
) -> tuple[torch.Tensor, IntegerGrid]:
    """Levels and their grid."""
    return gptq(
        weight, hessian, partial(search, weight, options=options), damping=0.01, rounds=rounds
    )


@pytest.mark.parametrize("symmetric", [False, True])
def test_pass_is_the_papers(weight: torch.Tensor, hessian: torch.Tensor, symmetric: bool) -> None:
    damped = damp(hessian, 0.01)
    grid = search(weight, torch.ones(COLUMNS), GridOptions(4, SIZE, symmetric))
    order, factor = inverse_factor_order(damped)
    got = grid.codes(compensate(weight, order, factor, grid.columns(order))).numpy()
    wanted = optimal_brain_quantiser(
        weight.double().numpy(), damped.double().numpy(), order.tolist(), grid
    )
    # A tie decided otherwise in float32 moves the columns that follow in its row.
    assert (got == wanted).all(1).sum() >= ROWS - 1


@pytest.mark.parametrize("bits", [4, 8])
def test_refinement_never_adds_error(
    bits: int, weight: torch.Tensor, hessian: torch.Tensor
) -> None:
    damped, options = damp(hessian, 0.01), GridOptions(bits, SIZE, symmetric=False)
    losses = [
        loss(weight, values(levels, grid), damped)
        for rounds in (0, 1, 4)
        for levels, grid in [gptq_of(weight, hessian, options, rounds)]
    ]
    grid = search(weight, torch.ones(COLUMNS), options)
    nearest = loss(weight, grid.dequantise(grid.quantise(weight)), damped)
    assert (losses[2] <= losses[1]).all()
    assert (losses[1] <= losses[0]).all()
    assert losses[0].sum() < 0.65 * nearest.sum()
    assert losses[2].sum() < losses[0].sum()


def test_scales_are_least_squares(weight: torch.Tensor, hessian: torch.Tensor) -> None:
    grid = search(weight, torch.ones(COLUMNS), FOUR)
    levels = grid.quantise(weight) - grid.expanded(slice(None))[1]
    got = least_squares_scales(weight, levels, SIZE, hessian)
    root = torch.linalg.cholesky(hessian.double()).T.numpy()
    steps = levels.double().numpy()
    for row in range(ROWS):
        blocks = np.zeros((COLUMNS, COLUMNS // SIZE))
        blocks[np.arange(COLUMNS), np.arange(COLUMNS) // SIZE] = steps[row]
        wanted = np.linalg.lstsq(root @ blocks, root @ weight[row].double().numpy())[0]
        np.testing.assert_allclose(got[row], wanted, rtol=1e-3)


def test_columns_that_are_never_fed(weight: torch.Tensor, hessian: torch.Tensor) -> None:
    hessian[5], hessian[:, 5] = 0, 0
    assert torch.isfinite(values(*gptq_of(weight, hessian, FOUR, 2))).all()


@pytest.mark.parametrize("symmetric", [False, True])
def test_search_beats_the_whole_range(weight: torch.Tensor, symmetric: bool) -> None:
    weight[0, 0] = 12
    importance = torch.rand(COLUMNS, generator=torch.Generator().manual_seed(3))
    grid = search(weight, importance, GridOptions(4, SIZE, symmetric))
    found = (importance * (weight - grid.dequantise(grid.quantise(weight))).square()).sum()
    low, high = weight.reshape(ROWS, -1, SIZE).amin(-1), weight.reshape(ROWS, -1, SIZE).amax(-1)
    if symmetric:
        scales, zeros = torch.maximum(-low, high) / 7.5, torch.full_like(low, 8)
    else:
        scales = (high - low) / 15
        zeros = (-low / scales).round()
    plain = IntegerGrid(scales, zeros, 4, SIZE)
    other = (importance * (weight - plain.dequantise(plain.quantise(weight))).square()).sum()
    assert found < 0.95 * other


def test_hqq_lowers_its_own_norm_and_keeps_zero_blocks(weight: torch.Tensor) -> None:
    weight[3, :SIZE] = 0
    codes, grid = hqq(weight, FOUR)
    start = search(weight, torch.ones(COLUMNS), FOUR)

    def norm(value: torch.Tensor) -> float:
        return float((weight - value).abs().pow(0.7).sum())

    assert norm(grid.dequantise(codes)) < norm(start.dequantise(start.quantise(weight)))
    assert (grid.dequantise(codes)[3, :SIZE] == 0).all()


def test_awq_measures_the_error_of_the_outputs(weight: torch.Tensor) -> None:
    x = torch.randn(4000, COLUMNS, generator=torch.Generator().manual_seed(4))
    x[:, :4] *= 30
    hessian = x.T @ x / len(x)
    factors = hessian.diagonal().sqrt().sqrt()
    got = output_error(weight, hessian, factors, FOUR)
    importance = hessian.diagonal() / factors.square()
    grid = search(weight * factors, importance, FOUR, clip=False)
    value = grid.dequantise(grid.quantise(weight * factors))
    wanted = (x @ weight.T - (x / factors) @ value.T).double().square().sum(1).mean()
    assert got == pytest.approx(float(wanted), rel=1e-3)
    assert got < output_error(weight, hessian, torch.ones(COLUMNS), FOUR)
