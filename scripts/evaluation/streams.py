"""A decoder with each of its layers rounded alone, in one pass through the layers."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from scripts.calibration.decoder import Decoder
from scripts.devices import Device
from scripts.progress import track

Round = Callable[[nn.Module], None]
"""Changes the weights of a module in place."""


def divergences(
    base: Path, windows: torch.Tensor, round_: Round, device: Device = "cpu"
) -> Iterator[NDArray[np.float64]]:
    """KL divergence in nats from the unchanged model at each token of the second halves of windows
    [n, tokens]: with each layer rounded alone, in order, then with the embedding and the head.

    Beside the unchanged hidden states there are those of each layer that was rounded before, and
    each layer is read once. Raises UnknownLayers.
    """
    decoder, keep = Decoder(base, device), windows.shape[1] // 2
    unchanged, call = decoder.begin(windows)
    round_(decoder.embedding)
    embedded, call_embedded = decoder.begin(windows)
    decoder.unload_ends()
    streams: list[torch.Tensor] = []
    for layer in track(range(len(decoder.layers)), "rounding layers"):
        decoder.load(layer)
        streams = [call(layer, states) for states in streams]
        embedded, before = call_embedded(layer, embedded), unchanged
        unchanged = call(layer, before)
        round_(decoder.layers[layer])
        streams.append(call(layer, before))
        decoder.unload(layer)
    with decoder.ends() as predict:

        def logprobs(states: torch.Tensor) -> torch.Tensor:
            """[scored tokens, vocabulary]."""
            return torch.log_softmax(predict(windows, states, keep).flatten(0, 1), -1)

        wanted = logprobs(unchanged)
        for states in streams:
            yield _divergence(wanted, logprobs(states))
        round_(decoder.head)
        yield _divergence(wanted, logprobs(embedded))


def _divergence(wanted: torch.Tensor, other: torch.Tensor) -> NDArray[np.float64]:
    kld = (wanted - other).mul_(wanted.exp()).sum(-1, dtype=torch.float64)
    divergence: NDArray[np.float64] = kld.cpu().numpy()
    return divergence
