"""Squared gradients layer by layer: a pass forward that keeps the states before each layer on disk,
and one backward that computes each layer again.

Memory holds one layer, what a window for each thread takes within it, and logits of a part of a
window.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import torch

from scripts.calibration.decoder import Decoder, LayerCall, Predict
from scripts.calibration.in_order import in_order
from scripts.calibration.noted import Noted, Terms, add, likelihood, noise
from scripts.checkpoint import Checkpoints
from scripts.progress import Progress
from scripts.tensors.kept_states import KeptStates

STATES_BYTES = 4_000_000_000
"""What the states of the windows that are computed together take on disk, about. More of them read
the weights less often."""
_LOGITS_BYTES = 1 << 26
_RECORD, _STATES = "record", "states"
_SUM, _INCOMING, _PLACE, _RANDOM = "sum/", "incoming/", "windows and steps done", "random numbers"


class LayerGradients:
    """Sums over windows [windows, context] of a decoder, in groups of windows.

    For each group the steps are the layers, the head, and the layers again from the last to the
    first. An interrupted run goes on after the last step that was kept. Raises UnknownLayers at
    once where gradients reach the embedding by other ways than the layers' states.
    """

    def __init__(
        self,
        decoder: Decoder,
        tokens: torch.Tensor,
        states: KeptStates,
        checkpoints: Checkpoints,
        pool: ThreadPoolExecutor,
        threads: int,
    ) -> None:
        self._decoder, self._tokens, self._states = decoder, tokens, states
        self._checkpoints, self._pool, self._threads = checkpoints, pool, threads
        self._layers = len(decoder.layers)
        self._steps = 2 * self._layers + 1
        head = decoder.head
        named = decoder.linears().items()
        self._noted = Noted({name: module for name, module in named if module is not head})
        self._names = decoder.name_of(head), decoder.name_of(decoder.embedding)
        embedded = decoder.embed(tokens[:1]).requires_grad_(True)
        hidden, _ = decoder.begin(tokens[:1], embedded)
        window_bytes = hidden.numel() * hidden.element_size() * (self._layers + 1)
        threads_filled = max(1, STATES_BYTES // window_bytes // threads)
        self._together = min(threads * threads_filled, len(tokens))
        self._generator = torch.Generator().manual_seed(0)
        self._sums, self._incoming = Terms(), dict[int, torch.Tensor]()
        self._kept_of, self._kept_layers = range(0), 0

    def sums(self) -> Terms:
        """Over all windows; raises NotFinite where the model gives no probabilities."""
        count = len(self._tokens)
        windows, done = self._resume()
        self._bar = Progress("gradients", count * self._steps)
        self._bar.advance(windows.start * self._steps + len(windows) * done)
        while windows:
            self._group(windows, done)
            windows, done = range(windows.stop, min(windows.stop + self._together, count)), 0
        return self._sums

    def _group(self, windows: range, done: int) -> None:
        """All steps for some windows, less those that are done."""
        self._windows, self._at_start = windows, (dict(self._sums), self._generator.get_state())
        calls: dict[int, LayerCall] = {}
        for at in windows:
            hidden, calls[at] = self._decoder.begin(self._tokens[at][None])
            if not done:
                self._states[0, at] = hidden
        self._decoder.unload_ends()
        for step in range(done, self._steps):
            layer = min(step, self._steps - 1 - step)
            if step < self._layers:
                self._over_windows(layer, partial(self._forward, calls, layer))
            elif step == self._layers:
                self._head()
            else:
                results = self._over_windows(layer, partial(self._backward, calls, layer))
                self._take(results)
            self._bar.advance(len(windows))
            if step + 1 < self._steps and self._checkpoints.is_due():
                self._keep(step + 1)
        for at in windows:
            gradient, terms = self._noted.during(partial(self._before_layers, at))
            at_embedding = {self._names[1]: gradient[0].square().sum(0)}
            add(self._sums, _on_cpu({**terms, **at_embedding}))
        self._decoder.unload_ends()

    def _take(self, results: Iterable[tuple[torch.Tensor, Terms]]) -> None:
        """What went on to the layer before, and what was noted, for each window in order."""
        for at, (incoming, terms) in zip(self._windows, results, strict=True):
            self._incoming[at] = incoming.cpu()
            add(self._sums, _on_cpu(terms))

    def _over_windows(self, layer: int, work: Callable[[int], Any]) -> list[Any]:
        """What a layer gives, in the order of the windows."""
        self._decoder.load(layer)
        results = list(self._pool.map(work, self._windows))
        self._decoder.unload(layer)
        return results

    def _forward(self, calls: dict[int, LayerCall], layer: int, at: int) -> None:
        with torch.no_grad():
            self._states[layer + 1, at] = calls[at](layer, self._states[layer, at])

    def _backward(
        self, calls: dict[int, LayerCall], layer: int, at: int
    ) -> tuple[torch.Tensor, Terms]:
        """The gradient at a layer's input for that at its output, and what its linears noted."""

        def back() -> torch.Tensor:
            hidden = self._before(layer, at)
            output = calls[at](layer, hidden)
            return torch.autograd.grad(output, hidden, self._incoming[at].to(hidden.device))[0]

        return self._noted.during(back)

    def _before(self, layer: int, at: int) -> torch.Tensor:
        """The states of a window before a layer, whose gradient is wanted."""
        return self._states[layer, at].to(self._decoder.device).requires_grad_(True)

    def _head(self) -> None:
        """The gradients at the last layer's output, and the squares at the head."""
        with self._decoder.ends() as predict:

            def work() -> Iterator[Callable[[], tuple[torch.Tensor, Terms]]]:
                for at in self._windows:
                    size = len(self._tokens[at]), self._decoder.head.weight.shape[0]
                    yield partial(self._loss, predict, at, noise(size, self._generator))

            self._take(in_order(self._pool, work(), self._threads))
        self._decoder.unload_ends()

    def _loss(self, predict: Predict, at: int, noise: torch.Tensor) -> tuple[torch.Tensor, Terms]:
        """The noise [context, vocabulary] is overwritten by the squares at the head: each takes
        as much as all logits."""
        rows = max(1, _LOGITS_BYTES // (noise.shape[1] * noise.element_size()))

        def back() -> torch.Tensor:
            hidden = self._before(self._layers, at)
            total = torch.zeros_like(hidden)
            for part in torch.split(torch.arange(len(noise)), rows):
                logits = predict(self._tokens[at][None], hidden, part)[0]
                mine = noise[part[0] : part[-1] + 1].to(logits.device)
                value, at_head = likelihood(logits, mine)
                noise[part[0] : part[-1] + 1] = at_head
                total += torch.autograd.grad(value, hidden)[0]
            return total

        incoming, terms = self._noted.during(back)
        return incoming, {**terms, self._names[0]: noise.sum(0)}

    def _before_layers(self, at: int) -> torch.Tensor:
        """The gradient at what the embedding gives: in this thread alone, since it takes the layers
        out of the model."""
        tokens = self._tokens[at][None]
        embedded = self._decoder.embed(tokens).requires_grad_(True)
        hidden, _ = self._decoder.begin(tokens, embedded)
        return torch.autograd.grad(hidden, embedded, self._incoming.pop(at).to(hidden.device))[0]

    def _needed(self, done: int) -> range:
        """The layers whose states the steps after the first `done` read."""
        return range(min(done, self._steps - 1 - done) + 1)

    def _keep(self, done: int) -> None:
        """So that a killed run goes on after `done` steps of these windows."""
        if self._kept_of != self._windows:  # the states of others are about to be replaced
            self._save_record(0, *self._at_start)
            self._kept_of, self._kept_layers = self._windows, 0
        for layer in self._needed(done)[self._kept_layers :]:
            states = {str(at): self._states[layer, at] for at in self._windows}
            self._checkpoints.save(f"{_STATES} {layer}", states)
            self._kept_layers = layer + 1
        self._save_record(done, self._sums, self._generator.get_state())

    def _save_record(self, done: int, sums: Terms, random: torch.Tensor) -> None:
        windows = self._windows.start, self._windows.stop, done
        incoming = {f"{_INCOMING}{at}": one for at, one in self._incoming.items() if done}
        named = {_SUM + name: total for name, total in sums.items()}
        place = {_PLACE: torch.tensor(windows), _RANDOM: random}
        self._checkpoints.save(_RECORD, {**named, **incoming, **place})

    def _resume(self) -> tuple[range, int]:
        """The windows to go on with, and how many of their steps are done."""
        kept = self._checkpoints.load(_RECORD)
        if kept is None:
            return range(min(self._together, len(self._tokens))), 0
        first, end, done = kept.pop(_PLACE).tolist()
        self._generator.set_state(kept.pop(_RANDOM))
        for name, one in kept.items():
            if name.startswith(_SUM):
                self._sums[name.removeprefix(_SUM)] = one
            else:
                self._incoming[int(name.removeprefix(_INCOMING))] = one
        windows = range(first, end)
        if done:
            self._kept_of, self._kept_layers = windows, len(self._needed(done))
            for layer in self._needed(done):
                for name, states in self._checkpoints.load_finished(f"{_STATES} {layer}").items():
                    self._states[layer, int(name)] = states
        return windows, done


def _on_cpu(terms: Terms) -> Terms:
    return {name: term.cpu() for name, term in terms.items()}
