"""ONNX, weights only, rounded to nearest by onnxruntime's own kernel."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from scripts.backends.format import register
from scripts.backends.onnx.blocks.format import OnnxEvenBlocks


@register
class OnnxRtn(OnnxEvenBlocks):
    """ONNX weight-only, rounded to nearest, one folder"""

    method: Literal["rtn"]

    title = "RTN"

    def quantise(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError where the block size does not divide a width."""
        from scripts.backends.onnx.blocks.nearest import quantise_linears
        from scripts.backends.onnx.graph import linears, open_graph, save_graph

        model = open_graph(inputs["graph"], out)
        quantise_linears(
            model,
            linears(model),
            bits=self.bits,
            block_size=self.block_size,
            accuracy_level=self.accuracy_level,
            head_bits=self.head_bits,
        )
        save_graph(model, inputs["graph"], out)
