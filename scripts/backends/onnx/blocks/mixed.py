"""`bits: auto`: bits and size of block for each linear, so that the graph costs least in a size."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from scripts.backends.blocks import Blocks
from scripts.backends.conversion import Conversion, OnUnsupported, made_blocks, rows_of, to_blocks
from scripts.backends.onnx.blocks.choice import GRIDS, bytes_of, choices
from scripts.backends.onnx.blocks.nodes import place
from scripts.backends.onnx.blocks.parts import split
from scripts.backends.onnx.blocks.pieces import EMBEDDING, Piece, Pieces
from scripts.backends.onnx.graph import (
    DATA,
    Linear,
    embedding,
    head,
    linears,
    open_graph,
    save_graph,
)
from scripts.backends.sizes import least_error
from scripts.backends.unsupported import KEY, told
from scripts.calibration.stored import Captured, gradient_squares
from scripts.errors import QuantmakeError
from scripts.methods.allocation import Choice, TooSmallError, allocate
from scripts.methods.gptq import Factor, Factors, factor
from scripts.methods.integer_gptq import integer_gptq
from scripts.methods.integer_grid import GridOptions, joined
from scripts.workers import one_thread

_UNKNOWN = GridOptions(4, 16, symmetric=False)
"""Of a MatMul whose loss is not known."""
_HEAD_BITS = 8
_PER_LINEAR = 900
"""Bytes of the graph that a MatMulNBits takes more than a MatMul: attributes, names, a Cast."""


@dataclass(frozen=True)
class Mixture:
    """How a graph is turned into blocks of several kinds. The artefact has at most `max_bytes`, or
    what plain blocks take: 4 bits in blocks of 32, 8 bits for the head and the embedding."""

    max_bytes: int | None
    damping: float
    rounds: int
    on_unsupported: OnUnsupported
    accuracy_level: int


@dataclass(frozen=True)
class _Planned:
    """The grid of a MatMul or the embedding, and its rows by the sources of their Hessians."""

    grid: GridOptions
    parts: tuple[tuple[str, slice], ...]


def quantise_within(inputs: Mapping[str, Path], out: Path, mixture: Mixture) -> str:
    """Write the graph of `inputs`, quantised by what the capture and the gradients say, to the
    folder `out`; returns what became of it, in words.

    Raises QuantmakeError that names every MatMul that is not supported, where `on_unsupported` is
    `error`; RecipeError where the smallest kinds of blocks take more than `max_bytes`.
    """
    model = open_graph(inputs["graph"], out)
    beside = sum(one.stat().st_size for one in inputs["graph"].iterdir() if one.name != DATA)
    kinds = _convert(model, inputs, mixture, beside)
    save_graph(model, inputs["graph"], out)
    written = sum(one.stat().st_size for one in out.iterdir())
    if mixture.max_bytes is not None and written > mixture.max_bytes:
        raise QuantmakeError(
            f"bits auto: the artefact has {written:,} bytes, {mixture.max_bytes:,} were planned: "
            "the nodes of its graph take more than was expected. Allow more bytes, and report this."
        )
    counted = ", ".join(f"{count} × {kind}" for kind, count in sorted(kinds.items()))
    return f"{written:,} bytes: {counted}"


def _convert(
    model: ir.Model, inputs: Mapping[str, Path], mixture: Mixture, beside: int
) -> Counter[str]:
    """Turn every MatMul into MatMulNBits and the embedding into blocks; returns of how many linears
    each kind of blocks is. `beside` are the bytes of all files but that of the weights."""
    captured, squares = Captured(inputs["capture"]), gradient_squares(inputs["gradients"])
    last = head(model)
    conversion = Conversion(_UNKNOWN, _HEAD_BITS, mixture.on_unsupported, last.name if last else "")
    quantised, unsupported = conversion.sort_out(linears(model), captured)
    if unsupported:
        model.metadata_props[KEY] = json.dumps(dict(told(unsupported)), sort_keys=True)
    known = Pieces(model, captured, squares)
    by_place = {
        linear.name: list(known.of(linear)) if linear.name not in unsupported else []
        for linear in quantised
    }
    by_place[EMBEDDING] = list(known.of_embedding())
    pieces = [one for of_place in by_place.values() for one in of_place]
    others = beside + _others(model, quantised, by_place)
    grids = _grids(pieces, choices(pieces, known, mixture.damping), mixture.max_bytes, others)
    placed, planned = [], {}
    for linear in quantised:
        for one, plan in _apart(model, linear, by_place[linear.name], grids):
            placed.append(one)
            if plan is not None:
                planned[one.name] = plan
    if by_place[EMBEDDING]:
        planned |= {EMBEDDING: _plan(by_place[EMBEDDING], grids[EMBEDDING])}
    maker = _Maker(known, mixture, planned, conversion)
    place(
        model,
        made_blocks(placed, maker.blocks),
        accuracy_level=mixture.accuracy_level,
        embedding_blocks=maker.of_embedding,
    )
    names = {grid: name for name, grid in GRIDS.items()}
    return Counter(names[grid] for grid in grids.values())


def _grids(
    pieces: Sequence[Piece],
    offered: dict[str, list[Choice]],
    max_bytes: int | None,
    others: int,
) -> dict[str, GridOptions]:
    """By linear its kind of blocks, so that with the bytes of all `others` the size is kept to."""
    budget = sum(map(_plain, pieces)) if max_bytes is None else max_bytes - others
    try:
        chosen = allocate(offered, budget)
    except TooSmallError as error:
        asked = budget + others
        raise least_error("bits auto", "blocks", asked + error.missing, asked) from None
    return {name: GRIDS[choice.type] for name, choice in chosen.items()}


def _plain(piece: Piece) -> int:
    """Bytes of it in the blocks that `bits: 4` has."""
    size = 16 if piece.columns % 32 else 32
    if piece.reads_tokens:
        return bytes_of(GridOptions(_HEAD_BITS, size, symmetric=True), piece.count, piece.columns)
    return bytes_of(GridOptions(4, size, symmetric=False), piece.count, piece.columns)


def _others(
    model: ir.Model, quantised: Sequence[Linear], by_place: Mapping[str, Sequence[Piece]]
) -> int:
    """Bytes of all that no choice is offered for, and of what nodes take once they hold blocks."""
    table = embedding(model)
    replaced = {str(one.node.inputs[1].name) for one in quantised if one.node.inputs[1]}
    replaced |= {str(table[1].name)} if table else set()
    total = sum(
        value.const_value.nbytes
        for name, value in model.graph.initializers.items()
        if name not in replaced and value.const_value is not None
    )
    for linear in quantised:
        total += _PER_LINEAR * max(1, len(by_place[linear.name]))
        if not by_place[linear.name]:
            largest = GridOptions(_HEAD_BITS, _UNKNOWN.block_size, symmetric=True)
            total += bytes_of(largest, linear.rows, linear.columns)
    return total


def _apart(
    model: ir.Model, linear: Linear, pieces: Sequence[Piece], grids: Mapping[str, GridOptions]
) -> list[tuple[Linear, _Planned | None]]:
    """The MatMul with its plan; where its pieces differ, MatMuls in its place."""
    runs = [(grid, [*run]) for grid, run in groupby(pieces, lambda piece: grids[piece.name])]
    if not runs:
        return [(linear, None)]
    plans = [_plan(run, grid) for grid, run in runs]
    if len(runs) == 1:
        return [(linear, plans[0])]
    outputs = [(_name(linear, run), slice(run[0].rows.start, run[-1].rows.stop)) for _, run in runs]
    return list(zip(split(model, linear, outputs), plans, strict=True))


def _plan(pieces: Sequence[Piece], grid: GridOptions) -> _Planned:
    first = pieces[0].rows.start
    by_source = [(source, [*run]) for source, run in groupby(pieces, lambda one: one.source)]
    parts = [
        (source, slice(run[0].rows.start - first, run[-1].rows.stop - first))
        for source, run in by_source
    ]
    return _Planned(grid, tuple(parts))


def _name(linear: Linear, pieces: Sequence[Piece]) -> str:
    """Such as /model/layers.0/attn/v_proj/MatMul; of several `qk_proj`, as the builder has it."""
    letters = "".join(piece.name.rpartition(".")[2][0] for piece in pieces)
    return linear.name.replace("qkv_proj", f"{letters}_proj")


class _Maker:
    """Blocks as they are planned."""

    def __init__(
        self,
        known: Pieces,
        mixture: Mixture,
        planned: Mapping[str, _Planned],
        conversion: Conversion,
    ) -> None:
        self._known, self._mixture = known, mixture
        self._planned, self._conversion = planned, conversion
        self._factors = Factors(self._factor)

    def blocks(self, linear: Linear) -> Blocks:
        """Of a MatMul; to nearest where nothing is planned."""
        plan = self._planned.get(linear.name)
        if plan is None:
            is_head = linear.name == self._conversion.head
            return self._conversion.nearest(
                linear.weight(), _HEAD_BITS if is_head else _UNKNOWN.bits
            )
        return self._rounded(plan, rows_of(linear.weight()))

    def of_embedding(self, weight: NDArray[np.float32]) -> Blocks:
        """Of an embedding [width, vocabulary] of its own."""
        plan = self._planned.get(EMBEDDING)
        if plan is None:
            return self._conversion.nearest(weight, _HEAD_BITS)
        with one_thread(), torch.inference_mode():
            return self._rounded(plan, rows_of(weight))

    def _rounded(self, plan: _Planned, weight: torch.Tensor) -> Blocks:
        rounded = joined(
            [
                integer_gptq(
                    weight[rows],
                    self._factors.of(f"{plan.grid.block_size} {source}"),
                    plan.grid,
                    rounds=self._mixture.rounds,
                )
                for source, rows in plan.parts
            ]
        )
        return to_blocks(rounded, plan.grid.symmetric)

    def _factor(self, name: str) -> Factor:
        size, _, source = name.partition(" ")
        return factor(self._known.hessian(source), (int(size),), self._mixture.damping, source)
