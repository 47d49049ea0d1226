"""ONNX, weights only, by HQQ: a grid that resists outliers, without calibration."""

from typing import TYPE_CHECKING, Literal

from scripts.backends.format import register
from scripts.backends.onnx.blocks.by_method import OnnxBlocksByMethod

if TYPE_CHECKING:
    import onnx_ir as ir

    from scripts.backends.conversion import Kernel
    from scripts.backends.onnx.graph import Linear
    from scripts.calibration.stored import Captured


@register
class OnnxHqq(OnnxBlocksByMethod):
    """ONNX weight-only by HQQ, one folder"""

    method: Literal["hqq"]

    title = "HQQ"

    def kernel(self, model: "ir.Model", captured: "Captured | None") -> "Kernel[Linear]":
        """As `OnnxBlocksByMethod.kernel`."""
        from scripts.methods.hqq import hqq

        grid = self.grid()
        return lambda _, weight: hqq(weight, grid)
