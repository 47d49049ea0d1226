"""ONNX, weights only, in 4 and 8 bits and blocks of several sizes, by GPTQ."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from scripts.backends.format import Format, register
from scripts.backends.onnx.blocks.format import OnnxBlocks
from scripts.backends.onnx.formats.gptq import OnnxGptq
from scripts.footprints import Footprint, sum_of
from scripts.forecast import Inputs, Outline


@register
class OnnxMixed(OnnxBlocks):
    """ONNX weight-only by GPTQ, mixed precision within a size, one folder"""

    bits: Literal["auto"]
    method: Literal["gptq"]
    max_bytes: Annotated[int, Field(gt=0)] | None = None
    """the size that is not exceeded; left out, that of `bits: 4`"""
    rounds: Annotated[int, Field(ge=0)] = 3
    """refinements that follow the paper's pass"""
    damping: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """share of the Hessian's mean diagonal that is added to it"""
    on_unsupported: Literal["error", "float", "rtn"] = "error"
    """a MatMul that the method does not support: an error, left in float, rounded to nearest"""

    footprints = ("onnx blocks", "onnx blocks by method")
    needs = ("graph", "capture", "gradients")

    def label(self) -> str:
        """Such as `INT4/INT8 auto, GPTQ (ONNX)`."""
        return f"INT4/INT8 auto, GPTQ{' tuned' if self.tune else ''} (ONNX)"

    def takes(self) -> Footprint:
        """What is written follows from the size."""
        if self.max_bytes is None:
            return super().takes() + sum_of("onnx 4 bits")
        return super().takes() + Footprint(written=self.max_bytes)

    def others(self) -> Iterator[Format]:
        """4 bits for all."""
        yield OnnxGptq(format="onnx", bits=4, method="gptq")

    def refusal(self, inputs: Inputs) -> str:
        """A size that not even the smallest blocks keep to."""
        from scripts.backends.onnx.blocks.least import too_small

        about = (said.about for said in inputs.values() if said is not None)
        outline = next((one for one in about if isinstance(one, Outline)), None)
        return too_small(self.max_bytes, outline) if outline and self.max_bytes else ""

    def quantise(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError for unsupported MatMuls, where `on_unsupported` is error, and
        RecipeError where the smallest blocks take more than `max_bytes`."""
        from scripts.backends.onnx.blocks.mixed import Mixture, quantise_within

        said = quantise_within(
            inputs,
            out,
            Mixture(
                self.max_bytes, self.damping, self.rounds, self.on_unsupported, self.accuracy_level
            ),
        )
        print(f"{self.label()}: {said}")

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """It loads, every MatMul was quantised or listed, its scales and logits are finite."""
        from scripts.backends.onnx.check import check_artifact

        check_artifact(
            inputs["graph"],
            out,
            float_allowed=self.on_unsupported == "float",
            may_be_split=True,
        )
