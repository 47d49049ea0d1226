"""What the ONNX formats share whose integer codes are chosen by a kernel of scripts/methods."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from scripts.backends.onnx.blocks.format import OnnxEvenBlocks

if TYPE_CHECKING:
    import onnx_ir as ir

    from scripts.backends.conversion import Kernel
    from scripts.backends.onnx.graph import Linear
    from scripts.calibration.stored import Captured
    from scripts.methods.integer_grid import GridOptions


class OnnxBlocksByMethod(OnnxEvenBlocks):
    """Integer codes by a kernel of `scripts.methods`."""

    symmetric: bool = Field(default_factory=lambda chosen: bool(chosen["bits"] == 8))
    """without zero points, which 8 bits hardly need"""
    on_unsupported: Literal["error", "float", "rtn"] = "error"
    """a MatMul that the method does not support: an error, left in float, rounded to nearest"""

    footprints = ("onnx blocks", "onnx blocks by method")

    def grid(self) -> "GridOptions":
        """What a kernel needs to know of the blocks."""
        from scripts.methods.integer_grid import GridOptions

        return GridOptions(self.bits, self.block_size, self.symmetric)

    def kernel(self, model: "ir.Model", captured: "Captured | None") -> "Kernel[Linear]":
        """The method as a function; it may change the graph beforehand.

        `captured` is there where the class's `needs` name the capture.
        """
        raise NotImplementedError

    def quantise(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError for unsupported MatMuls, where `on_unsupported` is error."""
        from scripts.backends.onnx.blocks.convert import convert
        from scripts.backends.onnx.graph import open_graph, save_graph
        from scripts.calibration.stored import Captured

        model = open_graph(inputs["graph"], out)
        captured = Captured(inputs["capture"]) if "capture" in self.needs else None
        kernel = self.kernel(model, captured)
        convert(
            model,
            kernel,
            captured,
            grid=self.grid(),
            head_bits=self.head_bits,
            on_unsupported=self.on_unsupported,
            accuracy_level=self.accuracy_level,
        )
        save_graph(model, inputs["graph"], out)

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """It loads, every MatMul was quantised or listed, its scales and logits are finite."""
        from scripts.backends.onnx.check import check_artifact

        check_artifact(inputs["graph"], out, float_allowed=self.on_unsupported == "float")
