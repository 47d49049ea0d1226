"""ONNX, weights only, by GPTQ: rounding errors are made up for by the other weights."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from scripts.backends.format import register
from scripts.backends.onnx.blocks.by_method import OnnxBlocksByMethod

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch

    from scripts.backends.onnx.blocks.convert import Kernel
    from scripts.backends.onnx.graph import Linear
    from scripts.calibration.stored import Captured
    from scripts.methods.integer_grid import Rounded


@register
class OnnxGptq(OnnxBlocksByMethod):
    """ONNX weight-only by GPTQ, one folder"""

    method: Literal["gptq"]
    rounds: Annotated[int, Field(ge=0)] = 3
    """refinements that follow the paper's pass"""
    damping: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """share of the Hessian's mean diagonal that is added to it"""

    title = "GPTQ"
    needs = ("graph", "capture")

    def kernel(self, model: "ir.Model", captured: "Captured | None") -> "Kernel":
        """As `OnnxBlocksByMethod.kernel`."""
        import torch

        from scripts.backends.onnx.captured import captured_name
        from scripts.methods.gptq import Factor, Factors, factor
        from scripts.methods.integer_gptq import integer_gptq

        assert captured is not None
        options = self.grid()

        def make(source: str) -> Factor:
            hessian = torch.from_numpy(captured.hessian(source))
            return factor(hessian, (options.block_size,), self.damping, source)

        factors = Factors(make)

        def kernel(linear: "Linear", weight: "torch.Tensor") -> "Rounded":
            name = captured_name(linear, captured)
            assert name is not None
            shared = factors.of(captured.input_of(name))
            return integer_gptq(weight, shared, options, rounds=self.rounds)

        return kernel
