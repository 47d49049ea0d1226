"""ONNX INT8, weights only: MatMulNBits of 8 bits; the default for quality."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from scripts.backends.format import Format, register
from scripts.forecast import Forecast, Inputs
from scripts.tensors.outline import Memory, forecast


@register
class OnnxInt8WeightOnly(Format):
    """ONNX INT8 weight-only, one folder"""

    format: Literal["onnx"]
    bits: Literal[8]
    method: Literal["weight-only"]
    block_size: Literal[16, 32, 64, 128, 256] = 32
    accuracy_level: Literal[0, 1, 4] = 4

    backend = "onnx"
    needs = ("graph",)
    packages = ("onnx", "onnx-ir", "onnxruntime")

    def label(self) -> str:
        """For tables and charts."""
        return "INT8 weight-only (ONNX)"

    def forecast(self, inputs: Inputs, target: Path) -> Forecast | None:
        """From the sizes of the model."""
        return forecast(inputs, Memory(fixed=0.2e9, largest=7), disk=1.13)

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError where the block size does not divide a width."""
        from scripts.backends.onnx.graph import linears, open_graph, save_graph
        from scripts.backends.onnx.nbits import quantise_linears

        model = open_graph(inputs["graph"], out)
        quantise_linears(
            model,
            linears(model),
            bits=8,
            block_size=self.block_size,
            accuracy_level=self.accuracy_level,
        )
        save_graph(model, inputs["graph"], out)

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """It loads, every MatMul was quantised, its scales and logits are finite."""
        from scripts.backends.onnx.check import check_artifact

        check_artifact(inputs["graph"], out)
