"""What GPTQ onto each of several grids would cost the model, estimated from a few rows."""

from collections.abc import Mapping, Sequence

import torch

from scripts.methods.block_grid import BlockGrid
from scripts.methods.gptq import Factor, gptq

# Rows that a matrix's loss is estimated from; of an embedding more, since its rows differ more.
_SAMPLE, _LARGE_SAMPLE, _LARGE = 96, 3072, 32768


def estimated_losses(
    matrices: Sequence[tuple[torch.Tensor, torch.Tensor]],
    factored: Factor,
    grids: Mapping[str, BlockGrid],
) -> dict[str, torch.Tensor]:
    """By grid the loss of each matrix in nats a token [matrices], float64; grids whose blocks do
    not divide the columns are left out.

    A matrix is its weight [rows, columns] and what an error in each row counts [rows]; all have
    the Hessian that is `factored`, with columns kept together for every grid. Rows are drawn in
    proportion to what they count, at even steps, so it comes out the same each time.
    """
    samples = [weight[drawn(rows)] for weight, rows in matrices]
    sizes = [len(sample) for sample in samples]
    by_grid = {}
    for name, grid in grids.items():
        if len(factored.order) % grid.columns:
            continue
        rounded = gptq(torch.cat(samples), factored, grid)
        losses = torch.split(torch.from_numpy(rounded.loss), sizes)
        totals = [
            float(loss.mean() * rows.sum() / 2)
            for (_, rows), loss in zip(matrices, losses, strict=True)
        ]
        by_grid[name] = torch.tensor(totals, dtype=torch.float64)
    return by_grid


def drawn(rows: torch.Tensor) -> torch.Tensor:
    """Indices [sample] of rows, each as often as its weight asks for."""
    count = _LARGE_SAMPLE if len(rows) > _LARGE else _SAMPLE
    heap = rows.double().cumsum(0)
    at = (torch.arange(count).double() + 0.5) / count * heap[-1]
    return torch.searchsorted(heap, at).clamp(max=len(rows) - 1)
