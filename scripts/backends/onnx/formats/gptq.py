"""ONNX, weights only, by GPTQ: rounding errors are made up for by the other weights."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from scripts.backends.format import register
from scripts.backends.onnx.blocks.format import OnnxBlocksByMethod

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch

    from scripts.backends.onnx.blocks.convert import Kernel
    from scripts.backends.onnx.graph import Linear
    from scripts.calibration.stored import Captured
    from scripts.methods.integer_grid import Rounded


@register
class OnnxGptq(OnnxBlocksByMethod):
    """ONNX INT4 or INT8 weight-only by GPTQ, one folder

    `rounds` refinements follow the paper's pass; `damping` is the share of the Hessian's mean
    diagonal that is added to it. A MatMul that the method does not support is an error, stays in
    float or is rounded to nearest, as `on_unsupported` says.
    """

    method: Literal["gptq"]
    rounds: Annotated[int, Field(ge=0)] = Field(
        default_factory=lambda chosen: 6 if chosen["bits"] == 4 else 2,
        description="6 for 4 bits, 2 for 8, where it is left out",
    )
    damping: Annotated[float, Field(gt=0, lt=1)] = 0.01

    title = "GPTQ"
    needs = ("graph", "capture")

    def kernel(self, model: "ir.Model", captured: "Captured | None") -> "Kernel":
        """As `OnnxBlocksByMethod.kernel`."""
        from functools import partial

        from scripts.backends.onnx.blocks.convert import hessian_of
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
