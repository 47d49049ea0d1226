"""MLX by AWQ: columns with large activations are scaled up first."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from scripts.backends.format import register
from scripts.backends.mlx.format import MlxAffine

if TYPE_CHECKING:
    from scripts.backends.folding import Folding
    from scripts.backends.hessians import Hessians
    from scripts.backends.mlx.plan import Plan
    from scripts.backends.mlx.rounding import Method


@register
class MlxAwq(MlxAffine):
    """MLX by AWQ, one folder"""

    method: Literal["awq"]

    title = "AWQ"
    needs = ("base", "capture")

    def method_of(self, inputs: Mapping[str, Path], plan: "Plan") -> "Method":
        """As `MlxAffine.method_of`: each group is searched for under the mean squares of its
        inputs. Raises QuantmakeError for a family of which it is not known where to scale."""
        import torch

        from scripts.backends.hessians import Hessians
        from scripts.backends.mlx.rounding import Method
        from scripts.methods.affine import Affine, Groups

        hessians = Hessians(inputs["capture"], plan.by_method(), "error")
        folding = self._folding(inputs["base"], hessians, plan)

        def kernel(name: str, weight: torch.Tensor, affine: Affine) -> Groups:
            hessian = folding.hessian(name, hessians.of(name))
            return affine.nearest(weight, hessian.diagonal())

        return Method(kernel, folding)

    def _folding(self, base: Path, hessians: "Hessians", plan: "Plan") -> "Folding":
        """The best factors wherever an activation can be scaled."""
        import torch

        from scripts.backends.folding import Site, fold, sites
        from scripts.checkpoint import Checkpoints
        from scripts.methods.awq import best_factors
        from scripts.methods.integer_grid import GridOptions
        from scripts.progress import track
        from scripts.workers import available_cores, single_core_workers

        places, checkpoints = sites(base, "method: awq"), Checkpoints.of_this_run()
        options = GridOptions(self.bits, plan.group, symmetric=False)

        def best(site: Site, weight: torch.Tensor) -> dict[str, torch.Tensor]:
            found = best_factors(weight, hessians.of(site.readers[0]), site.shared, options, pool)
            return {"factors": torch.from_numpy(found)}

        def choose(site: Site, weight: torch.Tensor) -> torch.Tensor:
            kept = checkpoints.result(f"scale {site.maker}", partial(best, site, weight))
            return kept["factors"]

        with torch.inference_mode(), single_core_workers(available_cores()) as pool:
            return fold(base, track(places, "scaling"), choose)
