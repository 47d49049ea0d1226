"""ONNX INT4, weights only, by HQQ: a grid that resists outliers, without calibration."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from scripts.backends.format import register
from scripts.backends.onnx.int4_format import OnnxInt4ByMethod


@register
class OnnxInt4Hqq(OnnxInt4ByMethod):
    """ONNX INT4 weight-only by HQQ, one folder"""

    format: Literal["onnx"]
    bits: Literal[4]
    method: Literal["hqq"]

    title = "INT4 HQQ"
    backend = "onnx"
    needs = ("graph",)

    def quantise(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError for MatMuls that do not fit, where `on_misfit` is error."""
        from scripts.backends.onnx.blockwise import Blockwise
        from scripts.backends.onnx.graph import open_graph, save_graph
        from scripts.methods.hqq import hqq

        model = open_graph(inputs["graph"], out)
        Blockwise.model_validate(self, from_attributes=True).quantise(
            model,
            lambda _, weight: hqq(
                weight, bits=self.bits, block_size=self.block_size, symmetric=self.symmetric
            ),
        )
        save_graph(model, inputs["graph"], out)
