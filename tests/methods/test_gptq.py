"""GPTQ on blocks: its pass against the paper's formulas in float64, its losses against their
definition, and no bit that depends on how the rows are shared out."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields

import numpy as np
import pytest
import torch

from scripts.errors import QuantmakeError
from scripts.methods.block_grid import BlockGrid, Coded, Rounded, Storage
from scripts.methods.gptq import Factor, Factors, best_scales, factor, gptq
from scripts.methods.integer_gptq import integer_gptq
from scripts.methods.integer_grid import GridOptions, search

ROWS, COLUMNS = 20, 512
UNEVEN = (-1.0, -0.7, -0.5, -0.3, -0.2, -0.1, 0.0, 0.1, 0.25, 0.4, 0.6, 1.0)
TABLE = np.linspace(-1, 1, 64, dtype=np.float32)
GRIDS = {
    "even": BlockGrid(tuple(range(-8, 8)), 32),
    "uneven": BlockGrid((-127, -80, -40, -10, 1, 20, 60, 113), 32),
    "offset": BlockGrid(tuple(range(16)), 32, with_offset=True),
    "multiples": BlockGrid(tuple(range(16)), 32, 256, True, Storage.MULTIPLES, (0, 63)),
    "signed multiples": BlockGrid(
        tuple(range(-32, 32)), 16, 256, False, Storage.MULTIPLES, (-128, 127)
    ),
    "zero points": BlockGrid(tuple(range(16)), 64, with_offset=True, storage=Storage.ZERO_POINTS),
    "single": BlockGrid(UNEVEN, 64, storage=Storage.SINGLE),
    "coded": BlockGrid(UNEVEN, 64, storage=Storage.CODED),
    "positive": BlockGrid(tuple(range(-8, 8)), 64, storage=Storage.POSITIVE),
    "long": BlockGrid(tuple(range(-128, 128)), 256),
}


@pytest.fixture(scope="module")
def weights() -> torch.Tensor:
    """Gaussian rows [ROWS, COLUMNS] off centre, one of them zero."""
    rows = torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(0)) * 0.05 + 0.004
    rows[3] = 0
    return rows


@pytest.fixture(scope="module")
def hessian() -> torch.Tensor:
    """Of correlated inputs whose columns differ in size [COLUMNS, COLUMNS]."""
    generator = torch.Generator().manual_seed(1)
    mix = torch.eye(COLUMNS) + 0.04 * torch.randn(COLUMNS, COLUMNS, generator=generator)
    inputs = torch.randn(2000, COLUMNS, generator=generator) @ mix
    inputs = inputs * 2 * torch.rand(COLUMNS, generator=generator)
    return inputs.T @ inputs / len(inputs)


def coded(name: str) -> Coded | None:
    """Scales between 0 and 0.4."""
    reach = np.full((ROWS, COLUMNS // 64), 0.2, np.float32)
    return Coded(TABLE, 0.2, reach) if name == "coded" else None


def factor_of(hessian: torch.Tensor, grid: BlockGrid) -> Factor:
    sizes = (grid.columns, grid.group)
    return factor(hessian, tuple(dict.fromkeys(sizes)), 0.01)


def damped(hessian: torch.Tensor) -> np.ndarray:
    return hessian.double().numpy() + 0.01 * float(hessian.diagonal().mean()) * np.eye(COLUMNS)


def losses(error: np.ndarray, hessian: np.ndarray) -> np.ndarray:
    """dW H dWᵀ of each row."""
    return ((error @ hessian) * error).sum(1)


def optimal_brain_quantiser(
    w: np.ndarray, h: np.ndarray, order: list[int], rounded: Rounded, grid: BlockGrid
) -> np.ndarray:
    """Codes by equations 2 and 3 of the paper in float64, the scales given: H's inverse over the
    columns that are left is taken anew at each step, and no Cholesky factor is used."""
    w, codes = w.copy(), np.zeros(w.shape, np.uint8)
    for step, at in enumerate(order):
        left = order[step:]
        inverse = np.linalg.inv(h[np.ix_(left, left)])
        scale = rounded.scales[:, at // grid.group].astype(float)
        offset = rounded.offsets[:, at // grid.group].astype(float)
        values = grid.steps.astype(float)[None] * scale[:, None] + offset[:, None]
        codes[:, at] = np.abs(values - w[:, at, None]).argmin(1)
        error = w[:, at] - values[np.arange(len(w)), codes[:, at]]
        w[:, left] -= np.outer(error / inverse[0, 0], inverse[0])
    return codes


@pytest.mark.parametrize("name", GRIDS)
def test_pass_is_the_papers(name: str, weights: torch.Tensor, hessian: torch.Tensor) -> None:
    grid, width = GRIDS[name], 256
    some, part = torch.cat([weights[:3], weights[4:]])[:, :width], hessian[:width, :width]
    share = factor_of(part, grid)
    scales = coded(name)
    reach = Coded(TABLE, 0.2, scales.reach[1:, : width // 64]) if scales else None
    rounded = gptq(some, share, grid, coded=reach)
    h = part.double().numpy() + float(share.damping) * np.eye(width)
    order = share.order.tolist()
    wanted = optimal_brain_quantiser(some.double().numpy(), h, order, rounded, grid)
    # A tie decided otherwise in float32 moves the columns that follow in its row.
    assert (rounded.codes == wanted).all(1).sum() >= len(some) - 2


@pytest.mark.parametrize("name", GRIDS)
def test_loss_is_its_definition_and_falls(
    name: str, weights: torch.Tensor, hessian: torch.Tensor
) -> None:
    grid, before = GRIDS[name], None
    for rounds in (0, 1, 3):
        rounded = gptq(weights, factor_of(hessian, grid), grid, rounds=rounds, coded=coded(name))
        error = rounded.values(grid) - weights.numpy()
        measured = losses(error.astype(float), hessian.double().numpy())
        np.testing.assert_allclose(rounded.loss, measured, rtol=2e-3, atol=1e-6)
        now = losses(error.astype(float), damped(hessian))
        if before is not None:
            assert (now <= before * (1 + 1e-5) + 1e-9).all()
            assert now.sum() < 0.99 * before.sum()
        before = now


@pytest.mark.parametrize("name", GRIDS)
def test_no_bit_depends_on_threads_or_on_other_rows(
    name: str, weights: torch.Tensor, hessian: torch.Tensor
) -> None:
    grid, share, many = GRIDS[name], factor_of(hessian, GRIDS[name]), weights.repeat(50, 1)
    scales = coded(name)
    many_scales = Coded(TABLE, 0.2, np.tile(scales.reach, (50, 1))) if scales else None
    with ThreadPoolExecutor(3) as pool:
        together = gptq(many, share, grid, rounds=1, coded=many_scales, run=pool.map)
    alone = gptq(weights[:7], share, grid, rounds=1, coded=scales and Coded(
        TABLE, 0.2, scales.reach[:7]))  # fmt: skip
    for field in fields(Rounded):
        for start in (0, 480, 980):
            got = getattr(together, field.name)[start : start + 7]
            assert np.array_equal(got, getattr(alone, field.name)), field.name


def test_zeros_and_columns_that_are_never_fed(weights: torch.Tensor, hessian: torch.Tensor) -> None:
    silent = hessian.clone()
    silent[5], silent[:, 5] = 0, 0
    for name, grid in GRIDS.items():
        rounded = gptq(weights, factor_of(silent, grid), grid, rounds=2, coded=coded(name))
        values = rounded.values(grid)
        assert np.isfinite(values).all(), name
        assert np.abs(values[3]).max() < 1e-6, name


def test_scales_are_stored_as_the_grid_says(weights: torch.Tensor, hessian: torch.Tensor) -> None:
    def rounded(name: str) -> Rounded:
        grid = GRIDS[name]
        return gptq(weights, factor_of(hessian, grid), grid, rounds=2, coded=coded(name))

    for name in ("even", "offset", "zero points", "positive", "long"):
        scales = rounded(name).scales
        assert np.array_equal(scales, scales.astype(np.float16).astype(np.float32))
    one = rounded("multiples")
    units, lows = (np.repeat(x, 8, 1) for x in (one.units, one.lows))
    for value, unit in ((one.scales, units), (one.offsets, lows)):
        times = np.divide(value, unit, out=np.zeros_like(value), where=unit != 0)
        assert np.allclose(times, np.rint(times), atol=1e-4)
        assert times.min() >= 0
        assert times.max() <= 63
    one = rounded("zero points")
    zeros = np.divide(
        -one.offsets, one.scales, where=one.scales != 0, out=np.zeros_like(one.scales)
    )
    assert np.array_equal(zeros, np.rint(zeros))
    assert (one.scales >= 0).all()
    assert (rounded("positive").scales > 0).all()
    assert np.isin(rounded("coded").scales, TABLE * np.float32(0.2) + np.float32(0.2)).all()


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", [4, 8])
def test_integers_lose_less_than_those_searched_for_by_themselves(
    bits: int, symmetric: bool, weights: torch.Tensor, hessian: torch.Tensor
) -> None:
    options = GridOptions(bits, 32, symmetric)
    codes, grid = integer_gptq(weights, factor(hessian, (32,), 0.01), options, rounds=1)
    other = search(weights, hessian.diagonal(), options)
    ours, nearest = (
        losses((weights - values).double().numpy(), damped(hessian)).sum()
        for values in (grid.dequantise(codes), other.dequantise(other.quantise(weights)))
    )
    assert ours < 0.6 * nearest
    assert int(codes.max()) < 2**bits
    assert grid.zeros.unique().numel() == 1 or not symmetric
    assert (grid.dequantise(codes)[3] == 0).all()


def test_best_scales_are_of_groups_by_themselves(
    weights: torch.Tensor, hessian: torch.Tensor
) -> None:
    grid = GRIDS["single"]
    scales = best_scales(weights, factor_of(torch.eye(COLUMNS), grid), grid)
    values = torch.from_numpy(np.repeat(scales, 64, 1))
    levels = torch.tensor(UNEVEN)
    steps = levels[
        (weights[:, :, None] / values[:, :, None] - levels).abs().nan_to_num(0).argmin(2)
    ]
    whole = weights.reshape(ROWS, -1, 64).abs().amax(2).repeat_interleave(64, 1)
    plain = levels[(weights[:, :, None] / whole[:, :, None] - levels).abs().nan_to_num(0).argmin(2)]
    assert (weights - steps * values).square().sum() < 0.95 * (
        weights - plain * whole
    ).square().sum()


def test_order_keeps_blocks_and_groups_together() -> None:
    diagonal = torch.rand(COLUMNS, generator=torch.Generator().manual_seed(2)) + 0.1
    diagonal[300] = 100
    order = torch.from_numpy(factor(diagonal.diag(), (256, 32, 16), 0.01).order)
    assert order[0] == 300
    assert torch.equal(order.sort().values, torch.arange(COLUMNS))
    for size in (256, 32, 16):
        assert (order.view(-1, size) // size).diff(dim=1).count_nonzero() == 0
        sums = diagonal[order].view(-1, size).sum(1).view(-1, max(1, 256 // size))
        assert size != 32 or (sums.diff(dim=1) <= 1e-4).all()


def test_factor_is_of_the_damped_inverse(hessian: torch.Tensor) -> None:
    share = factor(hessian, (32,), 0.01)
    order = share.order
    wanted = np.linalg.inv(damped(hessian)[np.ix_(order, order)])
    upper = share.upper.astype(float)
    np.testing.assert_allclose(upper.T @ upper, wanted, rtol=1e-4, atol=1e-6 * np.abs(wanted).max())
    assert not np.tril(upper, -1).any()


def test_hessian_that_is_not_one() -> None:
    with pytest.raises(
        QuantmakeError, match=r"Hessian of down_proj is not positive definite.* more tokens"
    ):
        factor(-torch.eye(32), (32,), 0.01, "down_proj")


def test_factors_are_made_once_for_all_threads() -> None:
    made: list[str] = []

    def make(name: str) -> Factor:
        made.append(name)
        if name == "bad":
            raise QuantmakeError("bad")
        return factor(torch.eye(32), (32,), 0.01)

    factors = Factors(make)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(factors.of, ["one"] * 20))
    assert made == ["one"]
    assert all(result is results[0] for result in results)
    for _ in range(2):
        with pytest.raises(QuantmakeError, match="bad"):
            factors.of("bad")
    for name in "abcd":
        factors.of(name)
    factors.of("one")
    assert made.count("one") == 2  # only the last few are kept
