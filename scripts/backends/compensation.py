"""GPTQ for the MatMuls of a graph: integer codes whose errors the other weights make up for."""

import torch

from scripts.backends.blocks import Linear
from scripts.backends.captured import parts_of
from scripts.backends.conversion import Kernel
from scripts.calibration.stored import Captured
from scripts.methods.gptq import Factor, Factors, factor
from scripts.methods.integer_gptq import integer_gptq
from scripts.methods.integer_grid import GridOptions, Rounded, joined


def gptq_kernel(
    captured: Captured, options: GridOptions, *, damping: float, rounds: int
) -> Kernel[Linear]:
    """`damping` is the share of the Hessian's mean diagonal that is added to it, `rounds` counts
    the refinements. MatMuls with one Hessian share its factorisation."""

    def make(source: str) -> Factor:
        hessian = torch.from_numpy(captured.hessian(source))
        return factor(hessian, (options.block_size,), damping, source)

    factors = Factors(make)

    def kernel(linear: Linear, weight: torch.Tensor) -> Rounded:
        return joined(
            [
                integer_gptq(weight[part], factors.of(source), options, rounds=rounds)
                for source, part in parts_of(linear, captured)
            ]
        )

    return kernel
