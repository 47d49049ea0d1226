"""What the OpenVINO formats share: their options, their check."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from scripts.backends.format import Format
from scripts.footprints import Footprint, sum_of

if TYPE_CHECKING:
    import openvino as ov

    from scripts.backends.conversion import Kernel
    from scripts.backends.openvino.graph import Linear
    from scripts.calibration.stored import Captured
    from scripts.methods.integer_grid import GridOptions


class OpenVinoBlocks(Format):
    """Compressed weights of 4 or 8 bits; a subclass says how the integer codes are chosen."""

    format: Literal["openvino"]
    bits: Literal[4, 8]
    block_size: Literal[32, 64, 128, 256] = 32
    """columns that share a scale"""
    symmetric: bool = Field(default_factory=lambda chosen: bool(chosen["bits"] == 8))
    """without zero points, which 8 bits hardly need"""
    head_bits: Literal[4, 8] = 8
    """of the head and the embedding, which are always rounded to nearest"""
    activation_bits: Literal[8, 32] = 8
    """8 rounds activations in groups of 32 while the model runs, 32 computes in float32, which is
    slower"""
    on_unsupported: Literal["error", "float", "rtn"] = "error"
    """a MatMul that the method does not support: an error, left in float, rounded to nearest"""

    title: ClassVar[str]
    backend = "openvino"
    needs: ClassVar[tuple[str, ...]] = ("base", "graph")
    packages: ClassVar[tuple[str, ...]] = ("openvino",)

    def label(self) -> str:
        """Such as `INT4 GPTQ (OpenVINO)`."""
        return f"INT{self.bits} {self.title} (OpenVINO)"

    def takes(self) -> Footprint:
        """Of Hessians too, where it needs them."""
        hessians = ["onnx hessians"] * ("capture" in self.needs)
        return sum_of("openvino blocks", f"openvino {self.bits} bits", *hessians)

    def grid(self) -> "GridOptions":
        """What a kernel needs to know of the blocks."""
        from scripts.methods.integer_grid import GridOptions

        return GridOptions(self.bits, self.block_size, self.symmetric)

    def kernel(self, model: "ov.Model", captured: "Captured | None") -> "Kernel[Linear]":
        """The method as a function; it may change the model beforehand.

        `captured` is there where the class's `needs` name the capture.
        """
        raise NotImplementedError

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError where OpenVINO does not compute what the base does, and for
        unsupported MatMuls, where `on_unsupported` is error."""
        from scripts.backends.float_gate import disagreement
        from scripts.backends.openvino.convert import convert
        from scripts.backends.openvino.graph import open_model, write_model
        from scripts.backends.openvino.settings import keep_settings
        from scripts.calibration.stored import Captured
        from scripts.errors import QuantmakeError

        graph = inputs["graph"]
        model = open_model(graph)
        if reason := disagreement(self.backend, graph, inputs["base"].resolve()):
            raise QuantmakeError(reason)
        captured = Captured(inputs["capture"]) if "capture" in self.needs else None
        kernel = self.kernel(model, captured)
        convert(
            model,
            kernel,
            captured,
            grid=self.grid(),
            head_bits=self.head_bits,
            on_unsupported=self.on_unsupported,
        )
        keep_settings(model, rounds_activations=self.activation_bits == 8)
        write_model(model, graph, out)

    def difference(self, before: Path, after: Path) -> str:
        """By constants: codes, scales, zero points."""
        from scripts.backends.openvino.check import difference_of

        return difference_of(before, after)

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """It loads, every MatMul was compressed or listed, its scales and logits are finite."""
        from scripts.backends.openvino.check import check_artifact

        check_artifact(inputs["graph"], out, float_allowed=self.on_unsupported == "float")
