"""OpenVINO, weights only, by AWQ: columns with large activations are scaled up first."""

from typing import TYPE_CHECKING, Literal

from scripts.backends.format import register
from scripts.backends.openvino.format import OpenVinoBlocks

if TYPE_CHECKING:
    import openvino as ov

    from scripts.backends.conversion import Kernel
    from scripts.backends.openvino.graph import Linear
    from scripts.calibration.stored import Captured


@register
class OpenVinoAwq(OpenVinoBlocks):
    """OpenVINO weight-only by AWQ, one folder"""

    method: Literal["awq"]

    title = "AWQ"
    needs = ("base", "graph", "capture")

    def kernel(self, model: "ov.Model", captured: "Captured | None") -> "Kernel[Linear]":
        """As `OpenVinoBlocks.kernel`; the columns are scaled here."""
        from scripts.backends.openvino.fold import fold, sites
        from scripts.backends.scaling import scale_columns
        from scripts.methods.rtn import rtn

        assert captured is not None
        grid = self.grid()
        scale_columns(sites(model), fold, captured, grid)
        return lambda _, weight: rtn(weight, grid)
