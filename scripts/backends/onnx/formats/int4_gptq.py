"""ONNX INT4, weights only, by GPTQ: rounding errors are made up for by the other weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from scripts.backends.format import register
from scripts.backends.onnx.int4_format import OnnxInt4ByMethod


@register
class OnnxInt4Gptq(OnnxInt4ByMethod):
    """ONNX INT4 weight-only by GPTQ, one folder

    `rounds` refinements follow the paper's pass; `damping` is the share of the Hessian's mean
    diagonal that is added to it. A MatMul that the method does not fit is an error, stays in
    float or is rounded to nearest, as `on_misfit` says.
    """

    format: Literal["onnx"]
    bits: Literal[4]
    method: Literal["gptq"]
    rounds: Annotated[int, Field(ge=0)] = 6
    damping: Annotated[float, Field(gt=0, lt=1)] = 0.01

    title = "INT4 GPTQ"
    backend = "onnx"
    needs = ("graph", "capture")

    def quantise(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError for MatMuls that do not fit, where `on_misfit` is error."""
        from scripts.backends.onnx.blockwise import Blockwise, hessian_of
        from scripts.backends.onnx.gptq import Settings, gptq
        from scripts.backends.onnx.graph import open_graph, save_graph
        from scripts.calibration.stored import Captured

        model, captured = open_graph(inputs["graph"], out), Captured(inputs["capture"])
        settings = Settings(self.bits, self.block_size, self.symmetric, self.damping, self.rounds)
        Blockwise.model_validate(self, from_attributes=True).quantise(
            model,
            lambda linear, weight: gptq(weight, hessian_of(linear, captured), settings),
            captured,
        )
        save_graph(model, inputs["graph"], out)
