"""What the INT4 formats of ONNX share: their options, their check, and `tune`."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from scripts.backends.format import Format
from scripts.forecast import Forecast, Inputs
from scripts.tensors.outline import Memory, forecast


class Tune(BaseModel):
    """Learn the scales and the norms from the FP16 base, on the calibration's text.

    `tokens` are learnt from in all, with repetition, `batch` windows at a step.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: Annotated[int, Field(ge=512)] = 30720
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 0.001
    batch: Annotated[int, Field(ge=1)] = 2


class OnnxInt4(Format):
    """MatMulNBits of 4 bits; a subclass says how the whole numbers are chosen."""

    block_size: Literal[16, 32, 64, 128, 256] = 32
    accuracy_level: Literal[0, 1, 4] = 4
    head_bits: Literal[4, 8] = 8
    tune: Tune | None = None

    title: ClassVar[str]
    memory: ClassVar[Memory] = Memory(0.2e9, largest=7)
    packages = ("onnx", "onnx-ir", "onnxruntime", "safetensors", "torch", "transformers")

    def needed(self) -> tuple[str, ...]:
        """What is learnt from, too, where scales are tuned."""
        return (*self.needs, *(["base", "calibration"] if self.tune else []))

    def depends_on_cpu(self) -> bool:
        """Sums of products do."""
        return self.cpu_features or self.tune is not None

    def label(self) -> str:
        """Such as `INT4 GPTQ (ONNX)`, `INT4 GPTQ tuned (ONNX)`."""
        return f"{self.title}{' tuned' if self.tune else ''} (ONNX)"

    def forecast(self, inputs: Inputs, target: Path) -> Forecast | None:
        """From the sizes of the model; a model that is tuned is in memory twice."""
        return forecast(
            inputs,
            replace(self.memory, value=12.0 if self.tune else 0.0),
            disk=0.63,
            disk_of_others=1.13,
        )

    def choice(self) -> dict[str, object]:
        """The method, and that it is tuned."""
        return {**self.selector(), **({"tune": "{}"} if self.tune else {})}

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError for MatMuls that do not fit, and where tuning does not."""
        self.quantise(inputs, out)
        if self.tune is not None:
            from scripts.backends.onnx.tuning.tune import tune

            tune(out, inputs["base"], inputs["calibration"], self.tune)

    def quantise(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Write the artefact before it is tuned."""
        raise NotImplementedError

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """It loads, every MatMul was quantised, its scales and logits are finite."""
        from scripts.backends.onnx.check import check_artifact

        check_artifact(inputs["graph"], out)


class OnnxInt4ByMethod(OnnxInt4):
    """With zero points unless `symmetric`; a MatMul that the method does not fit is an error,
    stays in float or is rounded to nearest, as `on_misfit` says."""

    symmetric: bool = False
    on_misfit: Literal["error", "float", "rtn"] = "error"

    cpu_features = True
    memory = Memory(largest=7, layer=20, hessian=48)

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """It loads, every MatMul was quantised or listed, its scales and logits are finite."""
        from scripts.backends.onnx.check import check_artifact

        check_artifact(inputs["graph"], out, float_allowed=self.on_misfit == "float")
