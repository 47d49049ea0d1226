"""ONNX, weights only, by AWQ: columns with large activations are scaled up first."""

from typing import TYPE_CHECKING, Literal

from scripts.backends.format import register
from scripts.backends.onnx.blocks.by_method import OnnxBlocksByMethod

if TYPE_CHECKING:
    import onnx_ir as ir

    from scripts.backends.conversion import Kernel
    from scripts.backends.onnx.graph import Linear
    from scripts.calibration.stored import Captured


@register
class OnnxAwq(OnnxBlocksByMethod):
    """ONNX weight-only by AWQ, one folder"""

    method: Literal["awq"]

    title = "AWQ"
    needs = ("graph", "capture")

    def kernel(self, model: "ir.Model", captured: "Captured | None") -> "Kernel[Linear]":
        """As `OnnxBlocksByMethod.kernel`; the columns are scaled here."""
        from functools import partial

        from scripts.backends.onnx.fold import fold, sites
        from scripts.backends.scaling import scale_columns
        from scripts.methods.rtn import rtn

        assert captured is not None
        grid = self.grid()
        scale_columns(sites(model), partial(fold, model), captured, grid)
        return lambda _, weight: rtn(weight, grid)
