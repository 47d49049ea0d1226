"""ONNX INT8, dynamic: integer MatMuls, activations quantised at run time."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from scripts.onnx_files.int8_format import OnnxInteger

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from scripts.onnx_files.admission import Quantiser
    from scripts.onnx_files.graph import Linear


class OnnxInt8Dynamic(OnnxInteger):
    """ONNX INT8 dynamic, one folder"""

    format: Literal["onnx"]
    bits: Literal[8]
    method: Literal["dynamic"]

    runtime = "onnxruntime"
    needs = ("graph", "capture")

    def label(self) -> str:
        """For tables and charts."""
        return "INT8 dynamic (ONNX)"

    def quantiser(
        self,
        inputs: Mapping[str, Path],
        integer: "list[Linear]",
        factors: "Mapping[str, NDArray[np.float32]]",
    ) -> "Quantiser":
        """As `OnnxInteger.quantiser`."""
        from functools import partial

        from scripts.onnx_files.integer import dynamic

        return partial(dynamic, per_channel=self.per_channel, reduce_range=self.reduce_range)
