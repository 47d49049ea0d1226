"""ONNX INT4, weights only, by HQQ: a grid that resists outliers, without calibration."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from scripts.stage import Format


class OnnxInt4Hqq(Format):
    """ONNX INT4 weight-only by HQQ, one folder"""

    format: Literal["onnx"]
    bits: Literal[4]
    method: Literal["hqq"]
    block_size: Literal[16, 32, 64, 128, 256] = 32
    symmetric: bool = False
    accuracy_level: Literal[0, 1, 4] = 4
    head_bits: Literal[4, 8] = 8
    on_misfit: Literal["error", "float", "rtn"] = "error"

    runtime = "onnxruntime"
    needs = ("graph",)
    packages = ("onnx", "onnx-ir", "onnxruntime", "torch")
    cpu_features = True

    def label(self) -> str:
        """For tables and charts."""
        return "INT4 HQQ (ONNX)"

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError for MatMuls that do not fit, where `on_misfit` is error."""
        from scripts.onnx_files.blockwise import Blockwise
        from scripts.onnx_files.graph import open_graph, save_graph
        from scripts.onnx_files.hqq import hqq

        model = open_graph(inputs["graph"])
        Blockwise.model_validate(self, from_attributes=True).quantise(
            model,
            lambda _, weight: hqq(
                weight, bits=self.bits, block_size=self.block_size, symmetric=self.symmetric
            ),
        )
        save_graph(model, inputs["graph"], out)

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """It loads, every MatMul was quantised or listed, its scales and logits are finite."""
        from scripts.onnx_files.check import check_artifact

        check_artifact(inputs["graph"], out, float_allowed=self.on_misfit == "float")
