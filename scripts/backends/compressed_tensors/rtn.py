"""RTN: each weight takes the nearest value of a grid that is searched for its block."""

from collections.abc import Mapping
from pathlib import Path

from scripts.backends.compressed_tensors.plan import Plan
from scripts.backends.compressed_tensors.rounding import kernel_of, layout_for, nearest
from scripts.backends.compressed_tensors.schemes import Settings
from scripts.backends.folding import Folding
from scripts.backends.shards import Work
from scripts.checkpoint import Checkpoints


def work(inputs: Mapping[str, Path], plan: Plan, settings: Settings, folding: Folding) -> Work:
    """Every weight of the plan is rounded to nearest."""
    layout = layout_for(inputs["base"], plan, settings)
    kernel = kernel_of(layout, folding, lambda name, weight: nearest(layout, name, weight))
    # Rounding to nearest is as fast as reading what was kept.
    return Work(plan.weights | folding.rows.keys(), kernel, Checkpoints(None))
