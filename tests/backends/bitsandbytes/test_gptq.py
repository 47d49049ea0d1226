"""GPTQ onto 4-bit levels against the paper's formulas in float64, and against bitsandbytes."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from bitsandbytes.functional import QuantState, dequantize_4bit, get_4bit_type

from scripts.backends.bitsandbytes.double_quantisation import Frame
from scripts.backends.bitsandbytes.gptq import gptq
from scripts.backends.bitsandbytes.grid import Absmax, LevelColumns, Levels, search
from scripts.backends.bitsandbytes.rtn import rtn
from scripts.methods.gptq import compensate, damp, inverse_factor_order

ROWS, COLUMNS, SIZE = 24, 192, 64


@dataclass(frozen=True)
class Kind:
    quant_type: str = "nf4"
    block_size: int = SIZE
    double_quant: bool = True
    rounds: int = 2
    damping: float = 0.01
    on_unsupported: str = "error"


@pytest.fixture
def weight() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(ROWS, COLUMNS, generator=generator) * 0.02).half()


@pytest.fixture
def hessian() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    mix = torch.randn(COLUMNS, COLUMNS, generator=generator)
    x = torch.randn(1000, COLUMNS, generator=generator) @ mix
    return x.T @ x / len(x)


def loaded(packed: torch.Tensor, state: QuantState) -> torch.Tensor:
    """The float32 values that bitsandbytes computes with, from what is stored of the state."""
    parts = {f"w.{name}": part for name, part in state.as_dict(packed=True).items()}
    read = QuantState.from_dict(parts, device=torch.device("cpu"))
    read.dtype = torch.float32
    return dequantize_4bit(packed, read)


def dense_loss(weight: torch.Tensor, values: torch.Tensor, hessian: torch.Tensor) -> float:
    """tr((W - Q) H (W - Q)ᵀ) in float64."""
    error = (weight.double() - values.double()).numpy()
    return float(np.trace(error @ hessian.double().numpy() @ error.T))


@pytest.mark.parametrize("quant_type", ["nf4", "fp4"])
def test_pass_is_the_papers(quant_type: str, weight: torch.Tensor, hessian: torch.Tensor) -> None:
    damped, levels = damp(hessian, 0.01), Levels.of(quant_type)
    order, factor = inverse_factor_order(damped)
    absmax = Absmax.of(search(weight.float(), damped.diagonal(), SIZE, levels), True).values
    blocks = torch.arange(COLUMNS) // SIZE
    columns = LevelColumns.of(absmax, blocks[order], levels)
    got = compensate(weight.float(), order, factor, columns).numpy()
    w, h = weight.double().numpy(), damped.double().numpy()
    table = get_4bit_type(quant_type, device="cpu").double().numpy()
    scales, wanted = absmax.double().numpy(), np.zeros_like(w)
    for step, at in enumerate(order.tolist()):
        left = order.tolist()[step:]
        inverse = np.linalg.inv(h[np.ix_(left, left)])
        scale = scales[:, at // SIZE]
        wanted[:, at] = table[np.abs((w[:, at] / scale)[:, None] - table).argmin(1)]
        error = w[:, at] - wanted[:, at] * scale
        w[:, left] -= np.outer(error / inverse[0, 0], inverse[0])
    # A tie decided otherwise in float32 moves the columns that follow in its row.
    assert np.isclose(got, wanted, atol=1e-6).all(1).sum() >= ROWS - 1


@pytest.mark.parametrize("quant_type", ["nf4", "fp4"])
@pytest.mark.parametrize("double_quant", [True, False])
def test_bitsandbytes_computes_with_the_values_that_were_compensated_for(
    quant_type: str, double_quant: bool, weight: torch.Tensor, hessian: torch.Tensor
) -> None:
    weight[5, :SIZE] = 0
    kind = Kind(quant_type, double_quant=double_quant, rounds=0)
    packed, state = gptq(weight, hessian, kind)
    damped, levels = damp(hessian, kind.damping), Levels.of(quant_type)
    order, factor = inverse_factor_order(damped)
    absmax = Absmax.of(search(weight.float(), damped.diagonal(), SIZE, levels), double_quant)
    blocks = torch.arange(COLUMNS) // SIZE
    columns = LevelColumns.of(absmax.values, blocks[order], levels)
    assumed = compensate(weight.float(), order, factor, columns) * absmax.values[:, blocks]
    assert torch.equal(loaded(packed, state), assumed)
    plain_packed, plain = rtn(weight, kind)
    assert packed.shape == plain_packed.shape
    parts, plain_parts = state.as_dict(packed=True), plain.as_dict(packed=True)
    assert {k: (v.dtype, v.shape) for k, v in parts.items() if "quant_state" not in k} == {
        k: (v.dtype, v.shape) for k, v in plain_parts.items() if "quant_state" not in k
    }
    assert torch.equal(parts["quant_map"], plain_parts["quant_map"])


@pytest.mark.parametrize("quant_type", ["nf4", "fp4"])
@pytest.mark.parametrize("double_quant", [True, False])
def test_outputs_are_closer_than_those_of_nearest(
    quant_type: str, double_quant: bool, weight: torch.Tensor, hessian: torch.Tensor
) -> None:
    kind = Kind(quant_type, double_quant=double_quant)
    damped = damp(hessian, kind.damping)
    nearest = dense_loss(weight, loaded(*rtn(weight, kind)), damped)
    losses = [
        dense_loss(weight, loaded(*gptq(weight, hessian, replace(kind, rounds=rounds))), damped)
        for rounds in (0, 1, 4)
    ]
    assert losses[0] < 0.6 * nearest
    assert losses[2] < losses[1] < losses[0]


def test_search_beats_the_greatest_magnitude(weight: torch.Tensor) -> None:
    weight[0, 0] = 0.3
    importance = torch.rand(COLUMNS, generator=torch.Generator().manual_seed(3))
    levels, blocks = Levels.of("nf4"), torch.arange(COLUMNS) // SIZE
    greatest = weight.float().reshape(ROWS, -1, SIZE).abs().amax(-1)

    def error(absmax: torch.Tensor) -> float:
        scales = absmax[:, blocks]
        values = levels.nearest(weight.float() / scales) * scales
        return float((importance * (weight.float() - values).square()).sum())

    assert error(search(weight.float(), importance, SIZE, levels)) < 0.95 * error(greatest)


def test_refitted_absmax_is_the_nearest_of_its_frame() -> None:
    absmax = torch.rand(40, 10, generator=torch.Generator().manual_seed(5)) + 0.5
    stored = Absmax.of(absmax, double_quant=True)
    wanted = absmax.flip(0) * 1.01
    wanted[3, 4], wanted[3, 5] = torch.nan, -1
    refit = stored.refitted(wanted)
    assert refit.frame is stored.frame
    assert torch.equal(refit.values[3, 4:6], stored.values[3, 4:6])
    frame = refit.frame
    assert isinstance(frame, Frame)
    all_codes = torch.arange(256, dtype=torch.uint8)
    for row, column in ((0, 0), (17, 3), (39, 9)):
        reach = frame.state.absmax[(row * 10 + column) // 256]
        possible = frame.state.code[all_codes.int()] * reach + frame.offset
        least = (possible - wanted[row, column]).abs().min()
        assert (refit.values[row, column] - wanted[row, column]).abs() <= least + 1e-6


@pytest.mark.parametrize("double_quant", [True, False])
def test_zeros_and_columns_that_are_never_fed(
    double_quant: bool, weight: torch.Tensor, hessian: torch.Tensor
) -> None:
    hessian[5], hessian[:, 5] = 0, 0
    weight[2] = 0
    values = loaded(*gptq(weight, hessian, Kind(double_quant=double_quant)))
    assert torch.isfinite(values).all()
    assert (values[2] == 0).all()
