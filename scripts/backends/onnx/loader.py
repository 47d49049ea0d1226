"""Plain onnxruntime: graphs with a KV cache as inputs and outputs, by the names of the builder."""

from pathlib import Path

import numpy as np
import onnxruntime as ort

from scripts.backends.model import Logits, Tokens, check_finite
from scripts.backends.onnx.cache import cache_after, empty_cache, is_cache

_SHORT = 8  # tokens that do not pay for packing the weights anew, which takes as much memory


class OrtModel:
    """A folder with model.onnx: `past_key_values.N.key` in, `present.N.key` out, and so on.

    Cache tensors are [1, KV heads, tokens, head width], states of convolutions (`past.N.conv`) and
    of recurrences as long as they are; they stay onnxruntime's own values.
    """

    def __init__(self, path: Path, threads: int, context: int, *, lean: bool = False) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if lean or context <= _SHORT:
            options.add_session_config_entry("session.disable_prepacking", "1")
        self._path = path
        self._session = ort.InferenceSession(
            path / "model.onnx", options, providers=["CPUExecutionProvider"]
        )
        inputs = {entry.name: entry for entry in self._session.get_inputs()}
        positions = inputs.get("position_ids")
        # Of three dimensions for text among images: [3, batch, tokens].
        self._positions = None if positions is None else (*positions.shape[:-2], 1, -1)
        self._shapes = {
            name: empty_cache(name, inputs[name].shape) for name in inputs if is_cache(name)
        }
        self._forget()

    def _forget(self) -> None:
        self._length = 0
        self._past = {
            name: ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float32))
            for name, shape in self._shapes.items()
        }

    def scores(self, tokens: Tokens, first: int) -> Logits:
        """As `Model.scores`."""
        self._forget()
        return check_finite(self._run(tokens)[first:], self._path)

    def prefill(self, tokens: Tokens) -> Logits:
        """As `Model.prefill`."""
        self._forget()
        return self._last(tokens)

    def decode(self, token: int) -> Logits:
        """As `Model.decode`."""
        return self._last(np.array([token], np.int64))

    def extend(self, tokens: Tokens, *, anew: bool = False) -> Logits:
        """As `Model.extend`."""
        if anew:
            self._forget()
        return check_finite(self._run(tokens), self._path)

    def _last(self, tokens: Tokens) -> Logits:
        last: Logits = self._run(tokens)[-1]
        return check_finite(last, self._path)

    def _run(self, tokens: Tokens) -> Logits:
        """Logits [n, vocabulary]; the cache grows by n."""
        end = self._length + len(tokens)
        binding = self._session.io_binding()
        feeds = {
            "input_ids": tokens.astype(np.int64)[None],
            "attention_mask": np.ones((1, end), np.int64),
        }
        if self._positions is not None:
            places = np.arange(self._length, end, dtype=np.int64)
            feeds["position_ids"] = np.ascontiguousarray(
                np.broadcast_to(places, (*self._positions[:-1], len(tokens)))
            )
        for name, value in feeds.items():
            binding.bind_cpu_input(name, value)
        for name, cached in self._past.items():
            binding.bind_ortvalue_input(name, cached)
        names = [entry.name for entry in self._session.get_outputs()]
        for name in names:
            binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(binding)
        outputs = dict(zip(names, binding.get_outputs(), strict=True))
        for name in self._shapes:
            self._past[name] = outputs[cache_after(name)]
        self._length = end
        logits: Logits = outputs["logits"].numpy()[0]
        return logits
