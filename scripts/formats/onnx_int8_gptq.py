"""ONNX INT8, weights only, by GPTQ: rounding errors are made up for by the other weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from scripts.base.outline import Memory, forecast
from scripts.forecast import Forecast, Inputs
from scripts.stage import Format


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

    runtime = "onnxruntime"
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
        from scripts.calibration.stored import Captured
        from scripts.onnx_files.blockwise import Blockwise, hessian_of
        from scripts.onnx_files.gptq import Settings, gptq
        from scripts.onnx_files.graph import open_graph, save_graph

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
        from scripts.onnx_files.check import check_artifact

        check_artifact(inputs["graph"], out, float_allowed=self.on_misfit == "float")
