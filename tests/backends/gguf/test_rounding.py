"""Our blocks against gguf's dequantiser, our loss against its definition and llama.cpp's own."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from gguf import GGML_QUANT_SIZES, dequantize, quantize

from scripts.backends.gguf.blocks import BLOCK_TYPES, DAMPING, NESTED, BlockType
from scripts.methods.block_grid import Rounded
from scripts.methods.gptq import factor, gptq
from scripts.workers import one_thread

WIDTH = 512
# Greatest relative RMS error of Gaussian values where all columns count alike.
TOLERANCE = {
    "q4_0": 0.1, "iq4_nl": 0.085, "q4_1": 0.085, "q4_k": 0.085, "q5_0": 0.05, "q5_1": 0.045,
    "q5_k": 0.045, "q6_k": 0.025, "q8_0": 0.007,
}  # fmt: skip


@pytest.fixture(scope="module")
def weights() -> torch.Tensor:
    """Gaussian rows [24, 512] off centre, one of them zero, one with a single huge value."""
    rows = torch.randn(24, WIDTH, generator=torch.Generator().manual_seed(0)) * 0.05 + 0.004
    rows[3] = 0
    rows[5, 100] = 40.0
    return rows


@pytest.fixture(scope="module")
def hessian() -> torch.Tensor:
    """Of correlated inputs whose columns differ in size [512, 512]."""
    generator = torch.Generator().manual_seed(1)
    mix = torch.eye(WIDTH) + 0.04 * torch.randn(WIDTH, WIDTH, generator=generator)
    inputs = torch.randn(2000, WIDTH, generator=generator) @ mix
    inputs = inputs * 2 * torch.rand(WIDTH, generator=generator)
    return inputs.T @ inputs / len(inputs)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def rounded(weights: torch.Tensor, hessian: torch.Tensor, kind: BlockType, **options) -> Rounded:
    """By GPTQ."""
    return gptq(weights, factor(hessian, NESTED, DAMPING), kind.grid, **options)


def read(one: Rounded, kind: BlockType) -> torch.Tensor:
    """The values that gguf reads from the bytes."""
    return torch.from_numpy(dequantize(kind.data(one), kind.type).copy())


def loss_of(error: torch.Tensor, hessian: torch.Tensor) -> torch.Tensor:
    """dW H dWᵀ of each row, in float64."""
    return ((error.double() @ hessian.double()) * error.double()).sum(1)


def damped_loss_of(error: torch.Tensor, hessian: torch.Tensor) -> torch.Tensor:
    """The same with the damping that GPTQ adds to H."""
    damping = DAMPING * hessian.double().diagonal().mean()
    return loss_of(error, hessian) + damping * error.double().square().sum(1)


@pytest.mark.parametrize("name", BLOCK_TYPES)
def test_loss_is_that_of_the_values_that_gguf_reads(
    name: str, weights: torch.Tensor, hessian: torch.Tensor
) -> None:
    kind = BLOCK_TYPES[name]
    one = rounded(weights, hessian, kind)
    block, size = GGML_QUANT_SIZES[kind.type]
    assert kind.data(one).shape == (len(weights), WIDTH // block * size)
    values = read(one, kind)
    torch.testing.assert_close(
        torch.from_numpy(one.loss).double(),
        loss_of(values - weights, hessian),
        rtol=1e-3,
        atol=1e-6,
    )
    assert not values[3].any()
    assert (torch.from_numpy(one.values(kind.grid)) - values).abs().max() < 1e-5


@pytest.mark.parametrize("name", BLOCK_TYPES)
def test_error_where_all_columns_count_alike(name: str, weights: torch.Tensor) -> None:
    some = weights[6:]
    kind = BLOCK_TYPES[name]
    values = read(rounded(some, torch.eye(WIDTH), kind), kind)
    assert (values - some).square().mean().sqrt() / some.square().mean().sqrt() < TOLERANCE[name]


@pytest.mark.parametrize("name", ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0"])
def test_half_the_loss_of_rounding_to_nearest(
    name: str, weights: torch.Tensor, hessian: torch.Tensor
) -> None:
    some, kind = weights[6:], BLOCK_TYPES[name]
    nearest = torch.from_numpy(dequantize(quantize(some.numpy(), kind.type), kind.type).copy())
    ours = rounded(some, hessian, kind).loss.sum()
    assert ours < 0.6 * loss_of(nearest - some, hessian).sum()


@pytest.mark.parametrize("name", BLOCK_TYPES)
def test_refinements_lose_less_and_say_how_much(
    name: str, weights: torch.Tensor, hessian: torch.Tensor
) -> None:
    kind = BLOCK_TYPES[name]
    once, twice = (rounded(weights, hessian, kind, rounds=rounds) for rounds in (0, 2))
    values = [read(one, kind) for one in (once, twice)]
    damped = [damped_loss_of(one - weights, hessian) for one in values]
    assert (damped[1] <= damped[0] * 1.001 + 1e-9).all()
    assert damped[1][6:].sum() < 0.98 * damped[0][6:].sum()
    torch.testing.assert_close(
        torch.from_numpy(twice.loss).double(),
        loss_of(values[1] - weights, hessian),
        rtol=1e-3,
        atol=1e-6,
    )
    assert not values[1][3].any()


@pytest.mark.parametrize("name", BLOCK_TYPES)
def test_rows_do_not_depend_on_each_other(
    name: str, weights: torch.Tensor, hessian: torch.Tensor
) -> None:
    kind = BLOCK_TYPES[name]
    together, alone = (rounded(some, hessian, kind, rounds=1) for some in (weights, weights[7:9]))
    assert np.array_equal(together.loss[7:9], alone.loss)
    assert np.array_equal(kind.data(together)[7:9], kind.data(alone))
