"""ONNX, weights only, by GPTQ: rounding errors are made up for by the other weights."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from scripts.backends.format import register
from scripts.backends.onnx.blocks.by_method import OnnxBlocksByMethod

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch

    from scripts.backends.conversion import Kernel
    from scripts.backends.onnx.graph import Linear
    from scripts.calibration.stored import Captured
    from scripts.methods.integer_grid import Rounded


@register
class OnnxGptq(OnnxBlocksByMethod):
    """ONNX weight-only by GPTQ, one folder"""

    method: Literal["gptq"]
    rounds: int = Field(default_factory=lambda chosen: 6 if chosen["bits"] == 4 else 2, ge=0)
    """refinements that follow the paper's pass"""
    damping: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """share of the Hessian's mean diagonal that is added to it"""

    title = "GPTQ"
    needs = ("graph", "capture")

    def kernel(self, model: "ir.Model", captured: "Captured | None") -> "Kernel[Linear]":
        """As `OnnxBlocksByMethod.kernel`."""
        from functools import partial

        from scripts.backends.captured import hessian_of
        from scripts.methods.gptq import gptq
        from scripts.methods.integer_grid import search

        assert captured is not None
        options = self.grid()

        def kernel(linear: "Linear", weight: "torch.Tensor") -> "Rounded":
            hessian = hessian_of(linear, captured)
            levels, grid = gptq(
                weight,
                hessian,
                partial(search, weight, options=options),
                damping=self.damping,
                rounds=self.rounds,
            )
            return grid.codes(levels), grid

        return kernel
