"""MLX by GPTQ: rounding errors are made up for by the other weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from scripts.backends.format import register
from scripts.backends.mlx.format import MlxAffine

if TYPE_CHECKING:
    import torch

    from scripts.backends.mlx.plan import Plan
    from scripts.backends.mlx.rounding import Method
    from scripts.methods.affine import Affine, Groups


@register
class MlxGptq(MlxAffine):
    """MLX by GPTQ, one folder"""

    method: Literal["gptq"]
    rounds: Annotated[int, Field(ge=0)] = 3
    """refinements that follow the paper's pass"""
    damping: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """share of the Hessian's mean diagonal that is added to it"""
    on_unsupported: Literal["error", "rtn"] = "error"
    """a weight whose inputs the calibration never reached (of an expert, say) is an error or
    rounded to nearest"""

    title = "GPTQ"
    needs = ("base", "capture")

    def method_of(self, inputs: Mapping[str, Path], plan: "Plan") -> "Method":
        """As `MlxAffine.method_of`."""
        from scripts.backends.folder_factors import factors_of
        from scripts.backends.hessians import Hessians
        from scripts.backends.mlx.rounding import Method, nearest
        from scripts.checkpoint import Checkpoints
        from scripts.methods.affine import Groups
        from scripts.methods.gptq import gptq

        hessians = Hessians(inputs["capture"], plan.by_method(), self.on_unsupported)
        factor_of = factors_of(hessians, (plan.group,), self.damping)
        unseen = set(hessians.unseen)

        def kernel(name: str, weight: "torch.Tensor", affine: "Affine") -> "Groups":
            if name in unseen:
                return nearest(name, weight, affine)
            made = gptq(weight, factor_of(name), affine.grid(), rounds=self.rounds)
            return Groups(made.codes, made.scales, made.offsets)

        return Method(kernel, checkpoints=Checkpoints.of_this_run(), unsupported=hessians.outcomes)
