"""Our blocks against gguf's dequantiser, our loss against its definition and llama.cpp's own."""

from collections.abc import Iterator

import pytest
import torch
from gguf import GGML_QUANT_SIZES, dequantize, quantize

from scripts.backends.gguf.blocks import BLOCK_TYPES
from scripts.backends.gguf.rounding import data_of
from scripts.errors import QuantmakeError
from scripts.methods.block_gptq import DAMPING, factor, gptq
from scripts.methods.block_refine import refined
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
    rounded = gptq(weights, factor(hessian), kind)
    block, size = GGML_QUANT_SIZES[kind.type]
    data = data_of(rounded, kind)
    assert data.shape == (len(weights), WIDTH // block * size)
    read = torch.from_numpy(dequantize(data, kind.type).copy())
    torch.testing.assert_close(
        rounded.loss.double(), loss_of(read - weights, hessian), rtol=1e-3, atol=1e-6
    )
    assert not read[3].any()


@pytest.mark.parametrize("name", BLOCK_TYPES)
def test_error_where_all_columns_count_alike(name: str, weights: torch.Tensor) -> None:
    some = weights[6:]
    kind = BLOCK_TYPES[name]
    data = data_of(gptq(some, factor(torch.eye(WIDTH)), kind), kind)
    read = torch.from_numpy(dequantize(data, kind.type).copy())
    assert (read - some).square().mean().sqrt() / some.square().mean().sqrt() < TOLERANCE[name]


@pytest.mark.parametrize("name", ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0"])
def test_half_the_loss_of_rounding_to_nearest(
    name: str, weights: torch.Tensor, hessian: torch.Tensor
) -> None:
    some, kind = weights[6:], BLOCK_TYPES[name]
    nearest = torch.from_numpy(dequantize(quantize(some.numpy(), kind.type), kind.type).copy())
    ours = gptq(some, factor(hessian), kind).loss.sum()
    assert ours < 0.6 * loss_of(nearest - some, hessian).sum()


@pytest.mark.parametrize("name", BLOCK_TYPES)
def test_refinements_lose_less_and_say_how_much(
    name: str, weights: torch.Tensor, hessian: torch.Tensor
) -> None:
    kind = BLOCK_TYPES[name]
    once = gptq(weights, factor(hessian), kind)
    twice = refined(weights, once, hessian, kind, rounds=2)
    before, read = (
        torch.from_numpy(dequantize(data_of(one, kind), kind.type).copy()) for one in (once, twice)
    )
    damped = [damped_loss_of(one - weights, hessian) for one in (before, read)]
    assert (damped[1] <= damped[0] * 1.001 + 1e-9).all()
    assert damped[1][6:].sum() < 0.98 * damped[0][6:].sum()
    torch.testing.assert_close(
        twice.loss.double(), loss_of(read - weights, hessian), rtol=1e-3, atol=1e-6
    )
    assert not read[3].any()


@pytest.mark.parametrize("name", BLOCK_TYPES)
def test_rows_do_not_depend_on_each_other(
    name: str, weights: torch.Tensor, hessian: torch.Tensor
) -> None:
    factors, kind = factor(hessian), BLOCK_TYPES[name]
    together, alone = gptq(weights, factors, kind), gptq(weights[7:9], factors, kind)
    torch.testing.assert_close(together.loss[7:9], alone.loss, rtol=0.02, atol=0)


def test_order_keeps_blocks_and_groups_together() -> None:
    diagonal = torch.rand(WIDTH, generator=torch.Generator().manual_seed(2)) + 0.1
    diagonal[300] = 100
    order = factor(diagonal.diag()).order
    assert order[0] == 300
    assert torch.equal(order.sort().values, torch.arange(WIDTH))
    for size in (256, 32, 16):
        assert (order.view(-1, size) // size).diff(dim=1).count_nonzero() == 0
        sums = diagonal[order].view(-1, size).sum(1).view(-1, max(1, 256 // size))
        assert size != 32 or (sums.diff(dim=1) <= 1e-4).all()


def test_hessian_that_is_not_one() -> None:
    with pytest.raises(QuantmakeError, match=r"not positive definite .* more tokens"):
        factor(-torch.eye(32))
