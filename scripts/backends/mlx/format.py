"""What the MLX formats share: their options, the folder, its check."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from scripts.backends.format import Format
from scripts.footprints import Footprint, sum_of
from scripts.forecast import Inputs, Outline

if TYPE_CHECKING:
    from scripts.backends.mlx.plan import Plan
    from scripts.backends.mlx.rounding import Method

Bits = Literal[2, 3, 4, 5, 6, 8]


class MlxAffine(Format):
    """Affine groups of integer codes; a subclass says how the codes are chosen.

    A folder is made by this project's kernels, whether MLX is installed or not.
    """

    format: Literal["mlx"]
    bits: Bits
    group_size: Literal[32, 64, 128] = 64
    """columns that share a scale and a bias"""
    head_bits: Bits = 8
    """of the head and the embedding, which are always rounded to nearest"""
    overrides: dict[str, Bits] = Field(default_factory=dict)
    """bits of modules whose names have a part in them, such as `{down_proj: 6, layers.0.: 8}`; the
    last that fits counts"""

    title: ClassVar[str]
    backend = "mlx"
    linkable = True

    def label(self) -> str:
        """Such as `INT4 GPTQ (MLX)`."""
        return f"INT{self.bits} {self.title} (MLX)"

    def words(self) -> dict[str, str]:
        """A number of bits that no other backend has, too."""
        said = f"Weights as integer codes of {self.bits} bits: {2**self.bits} values."
        own = {} if self.bits in (4, 8) else {f"INT{self.bits}": said}
        return {**own, **super().words()}

    def takes(self) -> Footprint:
        """Of Hessians too, where it needs them."""
        hessians = ["bitsandbytes gptq"] * ("capture" in self.needs)
        return sum_of("mlx", f"mlx {'4' if self.bits <= 4 else '8'} bits", *hessians)

    def refusal(self, inputs: Inputs) -> str:
        """A family that mlx-lm does not have, or has under names that are not known."""
        from scripts.backends.mlx.families import unknown

        about = (said.about for said in inputs.values() if said is not None)
        outline = next((one for one in about if isinstance(one, Outline)), None)
        return unknown(outline.model_type) if outline and outline.model_type else ""

    def method_of(self, inputs: Mapping[str, Path], plan: "Plan") -> "Method":
        """How the codes of each weight are chosen."""
        raise NotImplementedError

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError for a family that mlx-lm does not have, for a group that does not
        divide, where MLX is installed and does not compute what the base does, for weights that are
        not finite, and for those of which the capture says nothing."""
        from scripts.backends.mlx.folder import quantization, write_folder
        from scripts.backends.mlx.gate import refuse_other_model
        from scripts.backends.mlx.plan import plan
        from scripts.backends.mlx.rounding import pieces_of

        base = inputs["base"]
        planned = plan(base, self)
        refuse_other_model(base)
        method = self.method_of(inputs, planned)
        pieces = pieces_of(base, planned, method)
        write_folder(base, out, pieces, quantization(planned, self.bits), method.unsupported)

    def difference(self, before: Path, after: Path) -> str:
        """By tensors: codes, scales, biases, norms."""
        from scripts.tensors.compare import first_difference, of_safetensors

        return first_difference(of_safetensors(before), of_safetensors(after))

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Every part of every module is there, of its type and shape, and finite; where MLX is
        installed, mlx-lm loads it and its logits are finite."""
        from scripts.backends.mlx.check import check_artifact
        from scripts.backends.mlx.plan import plan

        check_artifact(plan(inputs["base"], self), out)
