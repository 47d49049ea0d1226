"""AWQ's side of a graph: factors are folded into what makes each activation."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.backends.blocks import Linear
from scripts.backends.captured import captured_name, hessian_of
from scripts.backends.conversion import rows_of
from scripts.calibration.stored import Captured
from scripts.checkpoint import Checkpoints
from scripts.methods.awq import Factors, best_factors
from scripts.methods.integer_grid import GridOptions
from scripts.progress import track
from scripts.workers import available_cores, single_core_workers


class Site(Protocol):
    """The MatMuls that read one activation, whose columns can be divided by factors."""

    @property
    def readers(self) -> Sequence[Linear]: ...

    def shared(self, factors: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Factors [K] made equal where several columns are copies of one."""


S = TypeVar("S", bound=Site)


def scale_columns(
    sites: Sequence[S],
    fold: Callable[[S, Factors], None],
    captured: Captured,
    options: GridOptions,
) -> None:
    """Fold the best factors into the graph, wherever an activation can be scaled."""
    chosen = [
        site
        for site in sites
        if not site.readers[0].columns % options.block_size
        and captured_name(site.readers[0], captured) is not None
    ]
    checkpoints = Checkpoints.of_this_run()

    def factors(site: S) -> dict[str, torch.Tensor]:
        best = best_factors(
            rows_of(np.concatenate([one.weight() for one in site.readers], axis=1)),
            hessian_of(site.readers[0], captured),
            site.shared,
            options,
            pool,
        )
        return {"factors": torch.from_numpy(best)}

    with torch.inference_mode(), single_core_workers(available_cores()) as pool:
        for site in track(chosen, "scaling"):
            kept = checkpoints.result(f"scale {site.readers[0].name}", partial(factors, site))
            fold(site, kept["factors"].numpy())
