"""ONNX INT4, weights only, by AWQ: columns with large activations are scaled up first."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from scripts.stage import Format


class OnnxInt4Awq(Format):
    """ONNX INT4 weight-only by AWQ, one folder"""

    format: Literal["onnx"]
    bits: Literal[4]
    method: Literal["awq"]
    block_size: Literal[16, 32, 64, 128, 256] = 32
    symmetric: bool = False
    accuracy_level: Literal[0, 1, 4] = 4
    head_bits: Literal[4, 8] = 8
    on_misfit: Literal["error", "float", "rtn"] = "error"

    runtime = "onnxruntime"
    needs = ("graph", "capture")
    packages = ("onnx", "onnx-ir", "onnxruntime", "torch")
    cpu_features = True

    def label(self) -> str:
        """For tables and charts."""
        return "INT4 AWQ (ONNX)"

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError for MatMuls that do not fit, where `on_misfit` is error."""
        from scripts.calibration.stored import Captured
        from scripts.onnx_files.awq import scale_columns
        from scripts.onnx_files.blockwise import Blockwise
        from scripts.onnx_files.graph import open_graph, save_graph

        model, captured = open_graph(inputs["graph"]), Captured(inputs["capture"])
        options = Blockwise.model_validate(self, from_attributes=True)
        scale_columns(model, captured, options)
        options.quantise(model, options.nearest, captured)
        save_graph(model, inputs["graph"], out)

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """It loads, every MatMul was quantised or listed, its scales and logits are finite."""
        from scripts.onnx_files.check import check_artifact

        check_artifact(inputs["graph"], out, float_allowed=self.on_misfit == "float")
