"""The search for integer grids, HQQ and AWQ, against the papers' formulas in float64."""

import pytest
import torch

from scripts.methods.awq import output_error
from scripts.methods.hqq import hqq
from scripts.methods.integer_grid import GridOptions, IntegerGrid, search

ROWS, COLUMNS, SIZE = 12, 160, 32
FOUR = GridOptions(4, SIZE, symmetric=False)


@pytest.fixture
def weight() -> torch.Tensor:
    return torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(0))


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
