"""ONNX INT8, static: integer MatMuls, activations with ranges from the calibration."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from scripts.backends.format import register
from scripts.backends.onnx.integer.format import OnnxInteger

if TYPE_CHECKING:
    from scripts.backends.onnx.graph import Linear
    from scripts.backends.onnx.integer.selection import Quantiser
    from scripts.backends.onnx.integer.smooth import Factors


@register
class OnnxStatic(OnnxInteger):
    """ONNX INT8 static (calibrated QDQ), one folder"""

    method: Literal["static"]
    windows: Annotated[int, Field(ge=1)] = 16
    """of the calibration's text, of all its kinds, that ranges are taken over, prefill and decode
    steps alike"""
    percentile: Annotated[float, Field(gt=99, le=100)] = 99.999
    """of an activation's values, beyond which they are clipped; 100 clips nothing"""

    title = "static"
    needs = ("graph", "calibration", "capture")

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError for graphs with subgraphs too."""
        from scripts.backends.onnx.integer.ranges import refuse_subgraphs

        refuse_subgraphs(inputs["graph"])
        super().run(inputs, out)

    def windows_of_ranges(self) -> int:
        """As `OnnxInteger.windows_of_ranges`."""
        return self.windows

    def quantiser(
        self, inputs: Mapping[str, Path], integer: "list[Linear]", factors: "Factors"
    ) -> "Quantiser":
        """As `OnnxInteger.quantiser`; the ranges are taken here."""
        from functools import partial

        from scripts.backends.onnx.integer.nodes import static
        from scripts.backends.onnx.integer.ranges import activation_ranges
        from scripts.calibration.spread import spread
        from scripts.token_windows import read_windows
        from scripts.workers import available_cores

        sources = [linear.node.inputs[0] for linear in integer]
        names = list(dict.fromkeys(str(value.name) for value in sources if value is not None))
        ranges = activation_ranges(
            inputs["graph"],
            names,
            spread(read_windows(inputs["calibration"]), self.windows),
            factors=factors,
            percentile=self.percentile,
            threads=available_cores(),
        )
        return partial(static, ranges=ranges, weight_of=self.weight_of(inputs, integer, factors))
