"""ONNX INT4, weights only, by AWQ: columns with large activations are scaled up first."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from scripts.backends.format import register
from scripts.backends.onnx.int4_format import OnnxInt4ByMethod


@register
class OnnxInt4Awq(OnnxInt4ByMethod):
    """ONNX INT4 weight-only by AWQ, one folder"""

    format: Literal["onnx"]
    bits: Literal[4]
    method: Literal["awq"]

    title = "INT4 AWQ"
    backend = "onnx"
    needs = ("graph", "capture")

    def quantise(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError for MatMuls that do not fit, where `on_misfit` is error."""
        from scripts.backends.onnx.awq import scale_columns
        from scripts.backends.onnx.blockwise import Blockwise
        from scripts.backends.onnx.graph import open_graph, save_graph
        from scripts.calibration.stored import Captured

        model, captured = open_graph(inputs["graph"], out), Captured(inputs["capture"])
        options = Blockwise.model_validate(self, from_attributes=True)
        scale_columns(model, captured, options)
        options.quantise(model, options.nearest, captured)
        save_graph(model, inputs["graph"], out)
