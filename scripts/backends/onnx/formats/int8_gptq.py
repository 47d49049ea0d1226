"""ONNX INT8, weights only, by GPTQ: rounding errors are made up for by the other weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from scripts.backends.format import Format, register
from scripts.forecast import Forecast, Inputs
from scripts.tensors.outline import Memory, forecast


@register
class OnnxInt8Gptq(Format):
    """ONNX INT8 weight-only by GPTQ, one folder

    `rounds` refinements follow the paper's pass; `damping` is the share of the Hessian's mean
    diagonal that is added to it. A MatMul that the method does not fit is an error, stays in
    float or is rounded to nearest, as `on_misfit` says.
    """

    format: Literal["onnx"]
    bits: Literal[8]
    method: Literal["gptq"]
    block_size: Literal[16, 32, 64, 128, 256] = 32
    symmetric: bool = True
    rounds: Annotated[int, Field(ge=0)] = 2
    damping: Annotated[float, Field(gt=0, lt=1)] = 0.01
    accuracy_level: Literal[0, 1, 4] = 4
    on_misfit: Literal["error", "float", "rtn"] = "error"

    backend = "onnx"
    needs = ("graph", "capture")
    packages = ("onnx", "onnx-ir", "onnxruntime", "torch")
    cpu_features = True

    def label(self) -> str:
        """For tables and charts."""
        return "INT8 weight-only, GPTQ (ONNX)"

    def forecast(self, inputs: Inputs, target: Path) -> Forecast | None:
        """From the sizes of the model: each worker has a weight and its Hessian."""
        return forecast(inputs, Memory(largest=7, layer=20, hessian=48), disk=1.13)

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError for MatMuls that do not fit, where `on_misfit` is error."""
        from scripts.backends.onnx.blockwise import Blockwise, hessian_of
        from scripts.backends.onnx.gptq import Settings, gptq
        from scripts.backends.onnx.graph import open_graph, save_graph
        from scripts.calibration.stored import Captured

        model, captured = open_graph(inputs["graph"], out), Captured(inputs["capture"])
        settings = Settings(self.bits, self.block_size, self.symmetric, self.damping, self.rounds)
        Blockwise.model_validate({**self.model_dump(), "head_bits": self.bits}).quantise(
            model,
            lambda linear, weight: gptq(weight, hessian_of(linear, captured), settings),
            captured,
        )
        save_graph(model, inputs["graph"], out)

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """It loads, every MatMul was quantised or listed, its scales and logits are finite."""
        from scripts.backends.onnx.check import check_artifact

        check_artifact(inputs["graph"], out, float_allowed=self.on_misfit == "float")
