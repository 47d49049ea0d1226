"""What the base predicts of many sequences of tokens, all of which go through one layer before the
next one is loaded."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from scripts.backends.model import Logits, Tokens, check_finite
from scripts.calibration.decoder import Decoder, Predict
from scripts.devices import Device
from scripts.progress import track
from scripts.tensors.kept_states import KeptStates

_LOGITS_BYTES = 1 << 28


class ByLayer:
    """The base, after some sequences went through its layers: it scores these alone."""

    def __init__(
        self, base: Path, sequences: Sequence[Tokens], states: KeptStates, device: Device
    ) -> None:
        """Raises UnknownLayers where the model does not go through its layers in turn."""
        self._base, self._states = base, states
        self._decoder = Decoder(base, device)
        self._numbers = {one.tobytes(): number for number, one in enumerate(sequences)}
        calls = []
        for number, tokens in enumerate(sequences):
            hidden, call = self._decoder.begin(torch.from_numpy(tokens)[None])
            states[0, number] = hidden
            calls.append(call)
        self._decoder.unload_ends()
        for layer in track(range(len(self._decoder.layers)), "layers"):
            self._decoder.load(layer)
            for number, call in enumerate(calls):
                states[0, number] = call(layer, states[0, number])
            self._decoder.unload(layer)

    @contextmanager
    def with_head(self) -> Iterator[None]:
        """To be open while it scores."""
        self._predict: Predict
        with self._decoder.ends() as self._predict:
            yield

    def scores(self, tokens: Tokens, first: int) -> Logits:
        """As `Model.scores`."""
        ids = torch.from_numpy(tokens)[None]
        hidden = self._states[0, self._numbers[tokens.tobytes()]]
        rows = max(1, _LOGITS_BYTES // (4 * self._decoder.head.weight.shape[0]))
        parts = torch.split(torch.arange(first, len(tokens)), rows)
        pieces = [self._predict(ids, hidden, part)[0].float().cpu().numpy() for part in parts]
        logits = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        return check_finite(logits, self._base)


@contextmanager
def by_layer(
    base: Path, sequences: Sequence[Tokens], folder: Path, device: Device = "cpu"
) -> Iterator[ByLayer]:
    """The base for token ids [n] of several lengths, ready to score them; hidden states are in a
    file in `folder` meanwhile."""
    with torch.inference_mode(), KeptStates(folder) as states:
        model = ByLayer(base, sequences, states, device)
        with model.with_head():
            yield model
