"""Small floats against their definition, bit by bit, and the search against the largest value."""

import numpy as np
import pytest
import torch

from scripts.methods.block_grid import BlockGrid
from scripts.methods.float_grid import E2M1, E4M3, FloatType, search
from scripts.methods.gptq import factor, gptq
from scripts.methods.integer_grid import storable

ROWS, COLUMNS, SIZE = 24, 192, 16


def values_of(exponents: int, mantissas: int, bias: int) -> np.ndarray:
    """All of a type with a sign, float64: subnormal numbers have the exponent 0."""
    fields = np.arange(2 ** (exponents + mantissas))
    exponent, mantissa = fields >> mantissas, fields % 2**mantissas / 2**mantissas
    normal = (1 + mantissa) * 2.0 ** (exponent - bias)
    found = np.where(exponent == 0, mantissa * 2.0 ** (1 - bias), normal)
    return np.concatenate([-found, found])


TYPES = {
    "e4m3": (E4M3, [one for one in values_of(4, 3, 7) if abs(one) <= 448]),  # 480 is NaN
    "e2m1": (E2M1, values_of(2, 1, 1)),
}


@pytest.fixture
def weight() -> torch.Tensor:
    return torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(0)) * 0.02


@pytest.mark.parametrize(("kind", "values"), TYPES.values(), ids=TYPES)
def test_nearest_is_the_nearest_value(kind: FloatType, values: list[float]) -> None:
    ratios = torch.linspace(-1.2, 1.2, 20001) * kind.largest
    got = kind.nearest(ratios).double().numpy()
    table = np.array(values)
    assert set(got.tolist()) <= set(table.tolist())
    least = np.abs(ratios.double().numpy()[:, None] - table).min(1)
    assert np.array_equal(np.abs(ratios.double().numpy() - got), least)


@pytest.mark.parametrize("kind", [E4M3, E2M1], ids=lambda kind: kind.name)
def test_search_beats_the_largest_value(kind: FloatType, weight: torch.Tensor) -> None:
    importance = torch.rand(COLUMNS, generator=torch.Generator().manual_seed(1))
    grid = search(weight, importance, SIZE, kind, storable)
    plain = storable(weight.reshape(ROWS, -1, SIZE).abs().amax(-1) / kind.largest)
    losses = []
    for scales in (grid.scales, plain):
        whole = scales.repeat_interleave(SIZE, 1)
        error = weight - kind.nearest(weight / whole) * whole
        losses.append(float((importance * error.square()).sum()))
    assert losses[0] < 0.95 * losses[1]
    assert torch.equal(grid.scales, grid.scales.half().float())


@pytest.mark.parametrize("kind", [E4M3, E2M1], ids=lambda kind: kind.name)
def test_gptq_on_the_grid_loses_less_in_the_outputs(kind: FloatType, weight: torch.Tensor) -> None:
    mix = torch.randn(COLUMNS, COLUMNS, generator=torch.Generator().manual_seed(2))
    inputs = torch.randn(800, COLUMNS, generator=torch.Generator().manual_seed(3)) @ mix
    hessian = inputs.T @ inputs / len(inputs)
    nearest = search(weight, torch.ones(COLUMNS), SIZE, kind, storable)
    grid = BlockGrid(kind.levels(), SIZE)
    ours = gptq(weight, factor(hessian, (SIZE,), 0.01), grid, rounds=1).values(grid)
    theirs = nearest.quantise(weight) * nearest.scales.repeat_interleave(SIZE, 1)
    losses = []
    for values in (torch.from_numpy(ours), theirs):
        error = (weight - values).double()
        losses.append(float((error @ hessian.double() * error).sum()))
    assert losses[0] < 0.7 * losses[1]


def test_zeros_have_a_scale_above_zero() -> None:
    grid = search(torch.zeros(2, 32), torch.ones(32), SIZE, E2M1, storable)
    assert (grid.scales > 0).all()
    assert (grid.quantise(torch.zeros(2, 32)) == 0).all()


@pytest.mark.parametrize(("kind", "count"), [(E4M3, 253), (E2M1, 15)], ids=["e4m3", "e2m1"])
def test_levels_are_those_that_nothing_is_nearer_to(kind: FloatType, count: int) -> None:
    levels = torch.tensor(kind.levels())
    assert len(levels) == count
    assert (levels.diff() > 0).all()
    assert levels[-1] == kind.largest
    assert torch.equal(kind.nearest(levels), levels)
