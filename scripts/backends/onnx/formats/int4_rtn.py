"""ONNX INT4, weights only, rounded to nearest: MatMulNBits of 4 bits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from scripts.backends.format import register
from scripts.backends.onnx.int4_format import OnnxInt4


@register
class OnnxInt4Rtn(OnnxInt4):
    """ONNX INT4 weight-only, rounded to nearest, one folder"""

    format: Literal["onnx"]
    bits: Literal[4]
    method: Literal["rtn"]

    title = "INT4 round-to-nearest"
    backend = "onnx"
    needs = ("graph",)

    def quantise(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError where the block size does not divide a width."""
        from scripts.backends.onnx.graph import linears, open_graph, save_graph
        from scripts.backends.onnx.nbits import quantise_linears

        model = open_graph(inputs["graph"], out)
        quantise_linears(
            model,
            linears(model),
            bits=4,
            block_size=self.block_size,
            accuracy_level=self.accuracy_level,
            head_bits=self.head_bits,
        )
        save_graph(model, inputs["graph"], out)
