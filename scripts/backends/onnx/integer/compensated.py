"""Integer weights by GPTQ, to the scales that rounding to nearest has."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.backends.captured import captured_name, parts_of
from scripts.backends.onnx.graph import Linear
from scripts.backends.onnx.integer.smooth import Factors
from scripts.backends.onnx.integer.weights import (
    MAX_CODE,
    ZERO_POINTS,
    IntegerWeight,
    WeightOf,
    WeightType,
    nearest,
    scales_of,
)
from scripts.calibration.stored import Captured
from scripts.methods.block_grid import BlockGrid, Coded, Storage
from scripts.methods.gptq import factor, gptq
from scripts.workers import available_cores, single_core_workers

_GROUP = 32  # columns that GPTQ rounds together; they all have their row's scale
_DAMPING = 0.01
_ROUNDS = 2


def compensated(
    capture: Path,
    integer: Sequence[Linear],
    factors: Factors,
    *,
    per_channel: bool,
    kind: WeightType,
) -> WeightOf:
    """What gives the weights of some MatMuls, by the capture in a folder."""
    return Compensated(Captured(capture), integer, factors, per_channel=per_channel, kind=kind)


class Compensated:
    """GPTQ for the weights of some MatMuls, whose activations may have been divided by `factors`;
    those whose inputs the capture does not know, or that are no multiple of 32 wide, are rounded to
    nearest. A weight that is asked for again, under whatever node, is rounded once."""

    def __init__(
        self,
        captured: Captured,
        integer: Sequence[Linear],
        factors: Factors,
        *,
        per_channel: bool,
        kind: WeightType,
    ) -> None:
        self._captured, self._factors = captured, factors
        self._per_channel, self._kind = per_channel, kind
        self._parts = {
            _weight_name(one): parts_of(one, captured)
            for one in integer
            if captured_name(one, captured) is not None
        }
        self._made: dict[str, IntegerWeight] = {}

    def __call__(self, linear: Linear) -> IntegerWeight:
        """As `WeightOf`."""
        name = _weight_name(linear)
        if name not in self._made:
            weight = linear.weight()
            if name in self._parts and len(weight) % _GROUP == 0:
                self._made[name] = self._gptq(linear, weight)
            else:
                self._made[name] = nearest(weight, per_channel=self._per_channel, kind=self._kind)
        return self._made[name]

    def _gptq(self, linear: Linear, weight: NDArray[np.float32]) -> IntegerWeight:
        scale = scales_of(weight, per_channel=self._per_channel)
        rows = torch.from_numpy(np.ascontiguousarray(weight.T))
        of_rows = np.broadcast_to(scale, len(rows))
        grid = BlockGrid(tuple(range(-MAX_CODE, MAX_CODE + 1)), _GROUP, storage=Storage.CODED)
        codes = np.empty(rows.shape, np.int16)
        with single_core_workers(available_cores()) as pool:
            for source, part in self._parts[_weight_name(linear)]:
                reach = np.repeat(of_rows[part, None], rows.shape[1] // _GROUP, 1)
                rounded = gptq(
                    rows[part],
                    factor(self._hessian(linear, source), (_GROUP,), _DAMPING, source),
                    grid,
                    rounds=_ROUNDS,
                    coded=Coded(np.ones(1, np.float32), 0, np.ascontiguousarray(reach)),
                    run=pool.map,
                )
                codes[part] = rounded.codes
        whole = codes.T - MAX_CODE
        return np.ascontiguousarray(whole + ZERO_POINTS[self._kind]).astype(self._kind), scale

    def _hessian(self, linear: Linear, source: str) -> torch.Tensor:
        """Of the activation as the graph has it."""
        hessian = torch.from_numpy(self._captured.hessian(source))
        activation = linear.node.inputs[0]
        by = self._factors.get(str(activation.name)) if activation is not None else None
        if by is None:
            return hessian
        inverse = 1 / torch.from_numpy(by)
        return hessian * inverse[:, None] * inverse


def _weight_name(linear: Linear) -> str:
    value = linear.node.inputs[1]
    assert value is not None
    return str(value.name)
