"""Ranges of activations over calibration windows, streamed: one window is in memory at a time."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from scripts.errors import QuantmakeError
from scripts.onnx_files.graph import MODEL
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
            "use method: dynamic or weight-only"
        )


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
        self.ranges = dict.fromkeys(names, (np.inf, -np.inf))

    def read(self, tokens: NDArray[np.int64]) -> None:
        """Prefill all tokens but the last few, then decode those one at a time."""
        cut = max(1, len(tokens) - _DECODE_STEPS)
        cache = self._run(tokens[:cut], dict(self._empty), 0)
        for place in range(cut, len(tokens)):
            cache = self._run(tokens[place : place + 1], cache, place)

    def _run(
        self, tokens: NDArray[np.int64], cache: dict[str, NDArray[np.float32]], start: int
    ) -> dict[str, NDArray[np.float32]]:
        end = start + len(tokens)
        feeds = {
            "input_ids": tokens[None],
            "attention_mask": np.ones((1, end), np.int64),
            **cache,
        }
        if self._has_positions:
            feeds["position_ids"] = np.arange(start, end, dtype=np.int64)[None]
        caches = [name.replace("past_key_values", "present") for name in cache]
        found = self._session.run([*caches, *self._names], feeds)
        for name, value in zip(self._names, found[len(caches) :], strict=True):
            least, greatest = self.ranges[name]
            self.ranges[name] = (min(least, value.min()), max(greatest, value.max()))
        return dict(zip(cache, found[: len(caches)], strict=True))


def activation_ranges(
    folder: Path, names: Sequence[str], windows: NDArray[np.int32], threads: int
) -> dict[str, tuple[float, float]]:
    """Least and greatest value of each named activation over windows [n, context].

    Raises QuantmakeError that names every activation which is all zero or not finite.
    """
    observer = Observer(folder, names, threads)
    for tokens in track(list(windows), "calibrating"):
        observer.read(tokens.astype(np.int64))
    bad = [
        name
        for name, (least, greatest) in observer.ranges.items()
        if not np.isfinite([least, greatest]).all() or least == greatest == 0
    ]
    if bad:
        raise QuantmakeError(
            f"these activations are all zero or not finite over the calibration's text: "
            f"{', '.join(bad)}. The base model or the text is broken; no range can be taken."
        )
    return {name: (float(low), float(high)) for name, (low, high) in observer.ranges.items()}
