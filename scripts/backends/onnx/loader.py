"""Plain onnxruntime: graphs with a KV cache as inputs and outputs, by the names of the builder."""

from pathlib import Path

import numpy as np
import onnxruntime as ort

from scripts.backends.model import Logits, Tokens, check_finite

_SHORT = 8  # tokens that do not pay for packing the weights anew, which takes as much memory


class OrtModel:
    """A folder with model.onnx: `past_key_values.N.key` in, `present.N.key` out, and so on.

    Cache tensors are [1, KV heads, tokens, head width]; they stay onnxruntime's own values.
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
        self._has_positions = "position_ids" in inputs
        self._caches = sorted(name for name in inputs if name.startswith("past_key_values"))
        self._shapes = {name: inputs[name].shape for name in self._caches}
        self._forget()

    def _forget(self) -> None:
        self._length = 0
        self._past = {
            name: ort.OrtValue.ortvalue_from_numpy(np.zeros((1, shape[1], 0, shape[3]), np.float32))
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
        if self._has_positions:
            feeds["position_ids"] = np.arange(self._length, end, dtype=np.int64)[None]
        for name, value in feeds.items():
            binding.bind_cpu_input(name, value)
        for name, cached in self._past.items():
            binding.bind_ortvalue_input(name, cached)
        names = [entry.name for entry in self._session.get_outputs()]
        for name in names:
            binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(binding)
        outputs = dict(zip(names, binding.get_outputs(), strict=True))
        for name in self._caches:
            self._past[name] = outputs[name.replace("past_key_values", "present")]
        self._length = end
        logits: Logits = outputs["logits"].numpy()[0]
        return logits
