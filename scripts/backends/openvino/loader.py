"""OpenVINO's CPU plugin: a model that keeps its cache as state."""

from pathlib import Path

import numpy as np
import openvino as ov

from scripts.backends.model import Logits, Tokens, check_finite
from scripts.backends.openvino.graph import open_model
from scripts.backends.openvino.settings import settings
from scripts.backends.openvino.state import BEAMS, MASK, TOKENS
from scripts.errors import QuantmakeError

_POSITIONS = "position_ids"


class OpenVinoModel:
    """A folder with openvino_model.xml, or with the float graph, which is read as it is."""

    def __init__(self, path: Path, threads: int, context: int, *, lean: bool = False) -> None:
        self._path = path
        compiled = ov.Core().compile_model(open_model(path), "CPU", settings(threads))
        self._request = compiled.create_infer_request()
        self._has_positions = any(_POSITIONS in one.get_names() for one in compiled.inputs)
        self._length = 0

    def scores(self, tokens: Tokens, first: int) -> Logits:
        """As `Model.scores`."""
        return check_finite(self._run(tokens, anew=True)[first:], self._path)

    def prefill(self, tokens: Tokens) -> Logits:
        """As `Model.prefill`."""
        return check_finite(self._run(tokens, anew=True)[-1], self._path)

    def decode(self, token: int) -> Logits:
        """As `Model.decode`."""
        return check_finite(self._run(np.array([token]))[-1], self._path)

    def extend(self, tokens: Tokens, *, anew: bool = False) -> Logits:
        """As `Model.extend`."""
        return check_finite(self._run(tokens, anew=anew), self._path)

    def _run(self, tokens: Tokens, *, anew: bool = False) -> Logits:
        """Logits [n, vocabulary]; the cache grows by n."""
        if anew:
            self._request.reset_state()
            self._length = 0
        end = self._length + len(tokens)
        feeds = {
            TOKENS: tokens.astype(np.int64)[None],
            MASK: np.ones((1, end), np.int64),
            BEAMS: np.zeros(1, np.int32),
        }
        if self._has_positions:
            feeds[_POSITIONS] = np.arange(self._length, end, dtype=np.int64)[None]
        self._length = end
        logits: Logits = self._request.infer(feeds)["logits"]
        if logits.shape[:2] != (1, len(tokens)):
            raise QuantmakeError(
                f"{self._path} gives logits of the shape {list(logits.shape)} for {len(tokens)} "
                "tokens: OpenVINO can't run it on this processor. With activation_bits: 32 it may."
            )
        rows: Logits = logits[0]
        return rows
