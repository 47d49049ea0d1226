"""ONNX INT4, weights only, rounded to nearest: MatMulNBits of 4 bits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from scripts.stage import Format


class OnnxInt4Rtn(Format):
    """ONNX INT4 weight-only, rounded to nearest, one folder"""

    format: Literal["onnx"]
    bits: Literal[4]
    method: Literal["rtn"]
    block_size: Literal[16, 32, 64, 128, 256] = 32
    accuracy_level: Literal[0, 1, 4] = 4
    head_bits: Literal[4, 8] = 8

    runtime = "onnxruntime"
    needs = ("graph",)
    packages = ("onnx", "onnx-ir", "onnxruntime")

    def label(self) -> str:
        """For tables and charts."""
        return "INT4 round-to-nearest (ONNX)"

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError where the block size does not divide a width."""
        from scripts.onnx_files.graph import linears, open_graph, save_graph
        from scripts.onnx_files.nbits import quantise_linears

        model = open_graph(inputs["graph"])
        quantise_linears(
            model,
            linears(model),
            bits=4,
            block_size=self.block_size,
            accuracy_level=self.accuracy_level,
            head_bits=self.head_bits,
        )
        save_graph(model, inputs["graph"], out)

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """It loads, every MatMul was quantised, its scales and logits are finite."""
        from scripts.onnx_files.check import check_artifact

        check_artifact(inputs["graph"], out)
