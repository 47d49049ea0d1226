"""The kinds of blocks that `bits: auto` chooses from, and what each costs for a linear."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch

from scripts.backends.onnx.blocks.pieces import Piece, Pieces
from scripts.backends.weighing import estimated_losses
from scripts.checkpoint import Checkpoints
from scripts.methods.allocation import Choice
from scripts.methods.gptq import factor
from scripts.methods.integer_gptq import block_grid
from scripts.methods.integer_grid import GridOptions
from scripts.progress import Progress
from scripts.workers import available_cores, single_core_workers

_OFFERED = (
    GridOptions(4, 128, symmetric=False),
    GridOptions(4, 64, symmetric=False),
    GridOptions(4, 32, symmetric=False),
    GridOptions(4, 16, symmetric=False),
    GridOptions(8, 128, symmetric=True),
    GridOptions(8, 32, symmetric=True),
)
GRIDS = {f"{one.bits} bits in blocks of {one.block_size}": one for one in _OFFERED}
_NESTED = (128, 64, 32, 16)
"""Columns that are kept together, so that one factor is for every size of block."""


def bytes_of(grid: GridOptions, rows: int, columns: int) -> int:
    """What blocks of a weight [rows, columns] take: codes, scales in float16, zero points."""
    blocks = columns // grid.block_size
    zeros = 0 if grid.symmetric else -(-blocks * grid.bits // 8)
    return rows * (columns * grid.bits // 8 + 2 * blocks + zeros)


def choices(pieces: Sequence[Piece], known: Pieces, damping: float) -> dict[str, list[Choice]]:
    """By the name of a linear, each kind of blocks that divides its columns, with the loss that
    GPTQ leaves."""
    sharing: dict[str, list[Piece]] = {}
    for piece in pieces:
        sharing.setdefault(piece.source, []).append(piece)
    checkpoints, offered = Checkpoints.of_this_run(), {}
    bar = Progress("weighing kinds of blocks", len(pieces), "linears")

    def losses(source: str) -> Mapping[str, torch.Tensor]:
        return checkpoints.result(f"weigh {source}", partial(weigh, source))

    def weigh(source: str) -> dict[str, torch.Tensor]:
        factored = factor(known.hessian(source), _NESTED, damping, source)
        matrices = [(piece.weight(), piece.counts) for piece in sharing[source]]
        grids = {name: block_grid(options) for name, options in GRIDS.items()}
        return estimated_losses(matrices, factored, grids)

    with torch.inference_mode(), single_core_workers(available_cores()) as pool:
        for source, by_kind in zip(sharing, pool.map(losses, sharing), strict=True):
            for place, piece in enumerate(sharing[source]):
                offered[piece.name] = [
                    Choice(
                        kind, bytes_of(GRIDS[kind], piece.count, piece.columns), float(loss[place])
                    )
                    for kind, loss in by_kind.items()
                ]
            bar.advance(len(sharing[source]))
    return offered
