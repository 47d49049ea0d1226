"""What the ONNX formats made of blocks share: their options, their check, and `tune`."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from scripts.backends.format import Format
from scripts.backends.tune import Tune
from scripts.footprints import Footprint, sum_of

_TUNING = "scripts.backends.onnx.tuning"


class OnnxBlocks(Format):
    """MatMulNBits; a subclass says of how many bits, and how the integer codes are chosen."""

    format: Literal["onnx"]
    accuracy_level: Literal[0, 1, 4] = 4
    """4 computes with 8-bit activations, 0 and 1 in float32, which is slower"""
    tune: Tune | None = None
    """learn the scales and the norms from the FP16 base, on the calibration's text"""

    footprints: ClassVar[tuple[str, ...]] = ("onnx blocks",)
    backend = "onnx"
    needs: ClassVar[tuple[str, ...]] = ("graph",)
    packages: ClassVar[tuple[str, ...]] = ("onnx", "onnx-ir", "onnxruntime")

    def needed(self) -> tuple[str, ...]:
        """What is learnt from, too, where scales are tuned."""
        return (*self.needs, *(["base", "calibration"] if self.tune else []))

    def reaches(self) -> tuple[str, ...]:
        """What tunes, where scales are tuned."""
        return (_TUNING,) if self.tune else ()

    def takes(self) -> Footprint:
        """Of Hessians and of learning too, where it needs them."""
        hessians = ["onnx hessians"] * ("capture" in self.needs)
        tuning = ["tuning"] * (self.tune is not None)
        return sum_of(*self.footprints, *hessians, *tuning)

    def choice(self) -> dict[str, object]:
        """The method, and that it is tuned."""
        return {**super().choice(), **({"tune": "{}"} if self.tune else {})}

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError for MatMuls that are not supported, and where tuning is not."""
        self.quantise(inputs, out)
        if self.tune is not None:
            tuning = importlib.import_module(_TUNING)
            tuning.tune(out, inputs["base"], inputs["calibration"], self.tune)

    def quantise(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Write the artefact before it is tuned."""
        raise NotImplementedError

    def difference(self, before: Path, after: Path) -> str:
        """By initialisers: codes, scales, zero points."""
        from scripts.backends.onnx.check import difference_of

        return difference_of(before, after)

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """It loads, every MatMul was quantised, its scales and logits are finite."""
        from scripts.backends.onnx.check import check_artifact

        check_artifact(inputs["graph"], out)


class OnnxEvenBlocks(OnnxBlocks):
    """The same number of bits and the same size of block for every MatMul but the head."""

    bits: Literal[4, 8]
    block_size: Literal[16, 32, 64, 128, 256] = 32
    """columns that share a scale"""
    head_bits: Literal[4, 8] = 8
    """of the head and the embedding, which are always rounded to nearest"""

    title: ClassVar[str]

    def label(self) -> str:
        """Such as `INT4 GPTQ (ONNX)`, `INT4 GPTQ tuned (ONNX)`."""
        return f"INT{self.bits} {self.title}{' tuned' if self.tune else ''} (ONNX)"

    def takes(self) -> Footprint:
        """By its bits, too."""
        return super().takes() + sum_of(f"onnx {self.bits} bits")
