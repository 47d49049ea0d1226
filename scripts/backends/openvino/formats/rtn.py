"""OpenVINO, weights only, rounded to nearest."""

from typing import TYPE_CHECKING, Literal

from scripts.backends.format import register
from scripts.backends.openvino.format import OpenVinoBlocks

if TYPE_CHECKING:
    import openvino as ov

    from scripts.backends.conversion import Kernel
    from scripts.backends.openvino.graph import Linear
    from scripts.calibration.stored import Captured


@register
class OpenVinoRtn(OpenVinoBlocks):
    """OpenVINO weight-only, rounded to nearest, one folder"""

    method: Literal["rtn"]

    title = "RTN"

    def kernel(self, model: "ov.Model", captured: "Captured | None") -> "Kernel[Linear]":
        """As `OpenVinoBlocks.kernel`."""
        from scripts.methods.rtn import rtn

        grid = self.grid()
        return lambda _, weight: rtn(weight, grid)
