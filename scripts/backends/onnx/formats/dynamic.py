"""ONNX INT8, dynamic: integer MatMuls, activations quantised at run time."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from scripts.backends.format import register
from scripts.backends.onnx.integer.format import OnnxInteger

if TYPE_CHECKING:
    from scripts.backends.onnx.graph import Linear
    from scripts.backends.onnx.integer.selection import Quantiser
    from scripts.backends.onnx.integer.smooth import Factors


@register
class OnnxDynamic(OnnxInteger):
    """ONNX INT8 dynamic, one folder"""

    method: Literal["dynamic"]

    title = "dynamic"
    needs = ("graph", "capture")

    def quantiser(
        self, inputs: Mapping[str, Path], integer: "list[Linear]", factors: "Factors"
    ) -> "Quantiser":
        """As `OnnxInteger.quantiser`."""
        from functools import partial

        from scripts.backends.onnx.integer.nodes import dynamic

        return partial(dynamic, weight_of=self.weight_of(inputs, integer, factors))
