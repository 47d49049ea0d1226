"""Ranges of activations over calibration windows, streamed.

A window on each core is in memory at a time, and of the earlier ones only the tails that
percentiles need: these do not depend on the order in which windows are seen. A decode step sees
what prefill does, its activations are rows of the same products.
"""

from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import numpy as np
import onnx
from numpy.typing import NDArray

from scripts.backends.onnx.evaluator import Evaluator
from scripts.backends.onnx.graph import MODEL, open_graph
from scripts.backends.onnx.integer.smooth import Factors
from scripts.errors import QuantmakeError
from scripts.progress import Progress
from scripts.workers import single_core_workers


def refuse_subgraphs(folder: Path) -> None:
    """Raise QuantmakeError for a graph with If or Loop: their branches can't be observed."""
    graph = onnx.load(folder / MODEL, load_external_data=False).graph
    bad = [
        node.name or node.op_type
        for node in graph.node
        if any(entry.type == onnx.AttributeProto.GRAPH for entry in node.attribute)
    ]
    if bad:
        raise QuantmakeError(
            f"the graph has subgraphs ({', '.join(bad[:5])}), so it can't be quantised statically; "
            "use method: dynamic or rtn"
        )


class Tail:
    """The `count` largest of all values seen so far, which is all that a percentile needs."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._kept = np.empty(0, np.float32)

    def add(self, values: NDArray[np.float32]) -> None:
        """See values [n]."""
        if len(self._kept) == self._count:
            values = values[values > self._kept[0]]
        merged = np.concatenate([self._kept, values])
        if len(merged) > self._count:
            merged = np.partition(merged, -self._count)[-self._count :]
        self._kept = np.sort(merged)

    def edge(self) -> float:
        """The smallest value that is kept: with `count` 1, the maximum of all."""
        return float(self._kept[0])


class Range:
    """Both tails of one activation; `outside` is the share of values beyond each edge."""

    def __init__(self, outside: float) -> None:
        self._outside = outside
        self._tails: tuple[Tail, Tail] | None = None
        self.broken = False
        self._all_zero = True

    def add(self, values: NDArray[np.float32], rows: int) -> None:
        """See values [..., width], of `rows` rows that will come in all."""
        if self._tails is None:
            count = max(1, int(self._outside * rows * values.shape[-1]))
            self._tails = Tail(count), Tail(count)
        self.broken = self.broken or not np.isfinite(values).all()
        self._all_zero = self._all_zero and not values.any()
        if not self.broken:
            self._tails[0].add(-values.ravel())
            self._tails[1].add(values.ravel())

    def edges(self) -> tuple[float, float] | None:
        """Where to clip, or None where all values were zero or one was not finite."""
        if self._tails is None or self.broken or self._all_zero:
            return None
        return -self._tails[0].edge(), self._tails[1].edge()


def activation_ranges(
    folder: Path,
    names: Sequence[str],
    windows: NDArray[np.int64],
    *,
    percentile: float,
    threads: int,
    factors: Factors | None = None,
) -> dict[str, tuple[float, float]]:
    """Where to clip each named activation, over windows [n, context].

    `percentile` per cent of the values lie below the upper edge, and as many above the lower
    one; 100 takes minimum and maximum. Columns are divided by the `factors` [K] of their
    activation first, if it has any. Raises QuantmakeError that names every activation
    which is all zero or not finite.
    """
    divisors = factors or {}
    evaluator = Evaluator(open_graph(folder))
    ranges = {name: Range(1 - percentile / 100) for name in names}
    adding = Lock()

    def observe(tokens: NDArray[np.int64]) -> None:
        for name, values in evaluator.values(names, tokens):
            divided = values / divisors[name] if name in divisors else values
            with adding:
                ranges[name].add(divided.astype(np.float32, copy=False), windows.size)

    with single_core_workers(threads) as pool, np.errstate(all="ignore"):
        progress = Progress("calibrating", len(windows), "windows")
        for _ in pool.map(observe, windows):
            progress.advance()
    edges = {name: one.edges() for name, one in ranges.items()}
    bad = [name for name, pair in edges.items() if pair is None]
    if bad:
        raise QuantmakeError(
            f"these activations are all zero or not finite over the calibration's text: "
            f"{', '.join(bad)}. The base model or the text is broken; no range can be taken."
        )
    return {name: pair for name, pair in edges.items() if pair is not None}
