"""GPTQ onto 4-bit levels: what was compensated for is what bitsandbytes computes with."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from bitsandbytes.functional import QuantState, dequantize_4bit

from scripts.backends.bitsandbytes.double_quantisation import Frame
from scripts.backends.bitsandbytes.gptq import gptq, rounded_in_frame
from scripts.backends.bitsandbytes.grid import Levels
from scripts.backends.bitsandbytes.rtn import rtn
from scripts.backends.bitsandbytes.stored import Quantised
from scripts.methods.block_grid import Storage
from scripts.methods.gptq import factor

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


def quantised(weight: torch.Tensor, hessian: torch.Tensor, kind: Kind) -> Quantised:
    """By GPTQ."""
    return gptq(weight, factor(hessian, (kind.block_size,), kind.damping), kind)


@pytest.mark.parametrize("quant_type", ["nf4", "fp4"])
@pytest.mark.parametrize("double_quant", [True, False])
def test_bitsandbytes_computes_with_the_values_that_were_compensated_for(
    quant_type: str, double_quant: bool, weight: torch.Tensor, hessian: torch.Tensor
) -> None:
    weight[5, :SIZE] = 0
    kind = Kind(quant_type, double_quant=double_quant, rounds=0)
    shared = factor(hessian, (SIZE,), kind.damping)
    packed, state = gptq(weight, shared, kind)
    rounded, _ = rounded_in_frame(weight, shared, kind)
    grid = Levels.of(quant_type).grid(SIZE, Storage.CODED if double_quant else Storage.SINGLE)
    assert torch.equal(loaded(packed, state), torch.from_numpy(rounded.values(grid)))
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
    damped = hessian + kind.damping * hessian.diagonal().mean() * torch.eye(COLUMNS)
    nearest = dense_loss(weight, loaded(*rtn(weight, kind)), damped)
    losses = [
        dense_loss(
            weight, loaded(*quantised(weight, hessian, replace(kind, rounds=rounds))), damped
        )
        for rounds in (0, 1, 4)
    ]
    assert losses[0] < 0.6 * nearest
    assert losses[2] < losses[1] < losses[0]


def test_absmax_is_the_nearest_of_its_frame(weight: torch.Tensor, hessian: torch.Tensor) -> None:
    absmax = torch.rand(40, 10, generator=torch.Generator().manual_seed(5)) + 0.5
    frame, _ = Frame.of(absmax.reshape(-1))
    wanted = absmax.flip(0) * 1.01
    got = frame.values(frame.codes(wanted))
    all_codes = torch.arange(256, dtype=torch.uint8)
    for row, column in ((0, 0), (17, 3), (39, 9)):
        reach = frame.state.absmax[(row * 10 + column) // 256]
        possible = frame.state.code[all_codes.int()] * reach + frame.offset
        least = (possible - wanted[row, column]).abs().min()
        assert (got[row, column] - wanted[row, column]).abs() <= least + 1e-6
    # GPTQ gives what the frame holds, bit for bit.
    rounded, frame = rounded_in_frame(weight, factor(hessian, (SIZE,), 0.01), Kind())
    scales = torch.from_numpy(rounded.scales)
    assert frame is not None
    assert torch.equal(frame.values(frame.codes(scales)), scales)


@pytest.mark.parametrize("double_quant", [True, False])
def test_zeros_and_columns_that_are_never_fed(
    double_quant: bool, weight: torch.Tensor, hessian: torch.Tensor
) -> None:
    hessian[5], hessian[:, 5] = 0, 0
    weight[2] = 0
    values = loaded(*quantised(weight, hessian, Kind(double_quant=double_quant)))
    assert torch.isfinite(values).all()
    assert (values[2] == 0).all()
