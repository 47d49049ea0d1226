"""Encoders through plain onnxruntime."""

from pathlib import Path

import numpy as np
import onnxruntime as ort

from scripts.backends.encoder import Floats, Integers, PaddedEncoder, padding_of
from scripts.backends.onnx.encoder.names import IDS, MASK, STATES


class OrtEncoder(PaddedEncoder):
    """A folder with model.onnx, whose inputs and output have the names of transformers."""

    def __init__(self, path: Path, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(
            path / "model.onnx", options, providers=["CPUExecutionProvider"]
        )
        self._inputs = [entry.name for entry in self._session.get_inputs()]
        super().__init__(path, self._run, padding_of(path))

    def _run(self, ids: Integers, mask: Integers) -> Floats:
        given = {IDS: ids, MASK: mask}
        feeds = {name: given.get(name, np.zeros_like(ids)) for name in self._inputs}
        states: Floats = self._session.run([STATES], feeds)[0]
        return states
