"""OpenVINO, weights only, by GPTQ: rounding errors are made up for by the other weights."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from scripts.backends.format import register
from scripts.backends.openvino.format import OpenVinoBlocks

if TYPE_CHECKING:
    import openvino as ov

    from scripts.backends.conversion import Kernel
    from scripts.backends.openvino.graph import Linear
    from scripts.calibration.stored import Captured


@register
class OpenVinoGptq(OpenVinoBlocks):
    """OpenVINO weight-only by GPTQ, one folder"""

    method: Literal["gptq"]
    rounds: Annotated[int, Field(ge=0)] = 3
    """refinements that follow the paper's pass"""
    damping: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """share of the Hessian's mean diagonal that is added to it"""

    title = "GPTQ"
    needs = ("base", "graph", "capture")

    def kernel(self, model: "ov.Model", captured: "Captured | None") -> "Kernel[Linear]":
        """As `OpenVinoBlocks.kernel`."""
        from scripts.backends.compensation import gptq_kernel

        assert captured is not None
        return gptq_kernel(captured, self.grid(), damping=self.damping, rounds=self.rounds)
