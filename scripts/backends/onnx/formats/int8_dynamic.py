"""ONNX INT8, dynamic: integer MatMuls, activations quantised at run time."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from scripts.backends.format import register
from scripts.backends.onnx.int8_format import OnnxInteger

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from scripts.backends.onnx.admission import Quantiser
    from scripts.backends.onnx.graph import Linear


@register
class OnnxInt8Dynamic(OnnxInteger):
    """ONNX INT8 dynamic, one folder"""

    format: Literal["onnx"]
    bits: Literal[8]
    method: Literal["dynamic"]

    backend = "onnx"
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

        from scripts.backends.onnx.integer import dynamic

        return partial(dynamic, per_channel=self.per_channel, reduce_range=self.reduce_range)
