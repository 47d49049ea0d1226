"""Ranges of activations over calibration windows, streamed.

One window is in memory at a time, and of the earlier ones only the tails that percentiles need.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from scripts.backends.onnx.graph import MODEL
from scripts.errors import QuantmakeError
from scripts.progress import track

_DECODE_STEPS = 8


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


class Observer:
    """The fp32 graph with the named activations as further outputs."""

    def __init__(self, folder: Path, names: Sequence[str], threads: int) -> None:
        model = onnx.load(folder / MODEL, load_external_data=False)
        for name in names:
            model.graph.output.append(
                onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            )
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(folder)
        )
        self._session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._names = list(names)
        inputs = {entry.name: entry for entry in self._session.get_inputs()}
        self._has_positions = "position_ids" in inputs
        self._empty = {
            name: np.zeros((1, entry.shape[1], 0, entry.shape[3]), np.float32)
            for name, entry in inputs.items()
            if name.startswith("past_key_values")
        }

    def read(self, tokens: NDArray[np.int64]) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Prefill tokens [n] but the last few, decode those one at a time; yield what is seen."""
        cut = max(1, len(tokens) - _DECODE_STEPS)
        cache = dict(self._empty)
        for start, end in [(0, cut), *((at, at + 1) for at in range(cut, len(tokens)))]:
            feeds = {
                "input_ids": tokens[None, start:end],
                "attention_mask": np.ones((1, end), np.int64),
                **cache,
            }
            if self._has_positions:
                feeds["position_ids"] = np.arange(start, end, dtype=np.int64)[None]
            caches = [name.replace("past_key_values", "present") for name in cache]
            outputs = self._session.run([*caches, *self._names], feeds)
            cache = dict(zip(cache, outputs[: len(caches)], strict=True))
            yield from zip(self._names, outputs[len(caches) :], strict=True)


def activation_ranges(
    folder: Path,
    names: Sequence[str],
    windows: NDArray[np.int64],
    *,
    percentile: float,
    threads: int,
    factors: Mapping[str, NDArray[np.float32]] | None = None,
) -> dict[str, tuple[float, float]]:
    """Where to clip each named activation, over windows [n, context].

    `percentile` per cent of the values lie below the upper edge, and as many above the lower
    one; 100 takes minimum and maximum. Columns are divided by the `factors` [K] of their
    activation first, if it has any. Raises QuantmakeError that names every activation
    which is all zero or not finite.
    """
    divisors = factors or {}
    observer = Observer(folder, names, threads)
    ranges = {name: Range(1 - percentile / 100) for name in names}
    for tokens in track(list(windows), "calibrating"):
        for name, values in observer.read(tokens):
            ranges[name].add(values / divisors[name] if name in divisors else values, windows.size)
    edges = {name: one.edges() for name, one in ranges.items()}
    bad = [name for name, pair in edges.items() if pair is None]
    if bad:
        raise QuantmakeError(
            f"these activations are all zero or not finite over the calibration's text: "
            f"{', '.join(bad)}. The base model or the text is broken; no range can be taken."
        )
    return {name: pair for name, pair in edges.items() if pair is not None}
