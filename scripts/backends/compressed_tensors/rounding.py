"""What the methods share: a weight as it is rounded, and the parts that come of it."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import safe_open

from scripts.backends.compressed_tensors.layouts import Layout, factor_of
from scripts.backends.compressed_tensors.plan import Plan
from scripts.backends.compressed_tensors.schemes import Settings, layout_of
from scripts.backends.folding import Folding
from scripts.backends.shards import Kernel, NotFinite, Parts
from scripts.methods.integer_grid import IntegerGrid
from scripts.tensors.finite import is_finite

# vLLM computes with these as one matrix, which has one factor.
_MERGED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"), ("w1", "w3"))

Rounded = tuple[torch.Tensor, torch.Tensor]
"""Levels [N, K] and scales [N, blocks]."""


def layout_for(base: Path, plan: Plan, settings: Settings) -> Layout:
    """The layout of a scheme, with what it has to know of the weights beforehand."""
    is_nvfp4 = settings.scheme == "NVFP4A16"
    return layout_of(settings, _nvfp4_factors(base, plan) if is_nvfp4 else None)


def kernel_of(
    layout: Layout, folding: Folding, rounded: Callable[[str, torch.Tensor], Rounded]
) -> Kernel:
    """Folds a tensor, rounds it if it is a weight [N, K], and lays it out."""

    def quantise(name: str, tensor: torch.Tensor) -> Parts:
        if not is_finite(tensor):
            raise NotFinite
        folded = folding.folded(name, tensor)
        if tensor.ndim == 1:  # a norm or a bias
            return {name: folded.to(tensor.dtype)}
        with torch.inference_mode():
            parts = layout.parts(name, *rounded(name, folded))
        return {f"{name.removesuffix('weight')}{part}": one for part, one in parts.items()}

    return quantise


def nearest(layout: Layout, name: str, weight: torch.Tensor) -> Rounded:
    """Rounded to nearest in the grid with the least squared error."""
    grid = layout.grid(name, weight, torch.ones(weight.shape[1]))
    codes = grid.quantise(weight)
    levels = codes - grid.zeros[:, :1] if isinstance(grid, IntegerGrid) else codes
    return levels, grid.scales


def _nvfp4_factors(base: Path, plan: Plan) -> Mapping[str, float]:
    """The factor of each weight, from the largest value of those that vLLM merges with it."""
    largest: dict[str, float] = {}
    for shard in sorted(base.glob("*.safetensors")):
        with safe_open(shard, "pt") as weights:
            for name in plan.weights & set(weights.keys()):
                largest[name] = float(weights.get_tensor(name).abs().max())
    return {
        name: factor_of(max(largest.get(other, 0.0) for other in _merged(name)))
        for name in plan.weights
    }


def _merged(name: str) -> list[str]:
    """The weights that are merged with one, itself among them."""
    module, _, linear = name.removesuffix(".weight").rpartition(".")
    together = next((one for one in _MERGED if linear in one), (linear,))
    return [f"{module}.{other}.weight" for other in together]
