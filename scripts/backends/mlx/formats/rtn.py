"""MLX by RTN: each group takes the grid with the least squared error."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from scripts.backends.format import register
from scripts.backends.mlx.format import MlxAffine

if TYPE_CHECKING:
    from scripts.backends.mlx.plan import Plan
    from scripts.backends.mlx.rounding import Method


@register
class MlxRtn(MlxAffine):
    """MLX, rounded to nearest, one folder"""

    method: Literal["rtn"]

    title = "RTN"

    def method_of(self, inputs: Mapping[str, Path], plan: "Plan") -> "Method":
        """As `MlxAffine.method_of`."""
        from scripts.backends.mlx.rounding import Method, nearest

        return Method(nearest)
