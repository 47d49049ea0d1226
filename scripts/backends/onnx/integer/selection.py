"""Mixed-precision selection: which MatMuls may be integer with predictions still close enough.

One trial graph holds both forms of each MatMul, and a run reads one or the other, so that any
selection is measured by running it, in arithmetic that is the same on every processor. Each MatMul
is made integer alone first, on the beginnings of some windows, one after the other, which ranks
them by the KL divergence that they cost; what comes before it is not computed again. Then the
longest run of the ranking that stays within the limit on the worst of the windows is found by
bisection, all of it integer at once. Everything is measured on the calibration's text.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from scripts.backends.onnx.evaluator import Evaluator
from scripts.backends.onnx.graph import Linear, linears, open_graph, write_model
from scripts.progress import Progress
from scripts.workers import single_core_workers

_RANKING_TOKENS = 160
_RANKING_WINDOWS = 4
# Puts the integer form of the MatMuls into a graph, in place.
Quantiser = Callable[[ir.Model, Sequence[Linear]], None]


@dataclass(frozen=True)
class Selection:
    """The names of the MatMuls that are integer, and what that costs in nats, on the worst of the
    windows."""

    integer: frozenset[str]
    divergence: float
    tried: int


def select(
    model: ir.Model,
    candidates: Sequence[Linear],
    quantise: Quantiser,
    windows: NDArray[np.int64],
    *,
    max_kld: float,
    threads: int,
    scratch: Path,
) -> Selection:
    """Choose among `candidates` so that the KL divergence is at most `max_kld` nats on each of the
    windows [n, context]; none where even the least harmful one exceeds it.

    `scratch`, an empty folder, receives a copy of the graph.
    """
    trial = Trial(model, [one.name for one in candidates], quantise, scratch)
    bar = Progress("choosing", trial.count + trial.count.bit_length() + 2)
    last = windows[-_RANKING_WINDOWS:]
    short = last[:, : max(1, _RANKING_TOKENS // len(last))].reshape(-1)
    trial.remember(short)
    with single_core_workers(threads) as pool:
        alone = []
        for kld in pool.map(lambda place: trial.of_window([place], short), range(trial.count)):
            alone.append(kld)
            bar.advance()
        ranking = np.argsort(np.array(alone), kind="stable").tolist()
        low, reached = longest_run(trial, ranking, windows, max_kld, pool, bar)
    names = [trial.names[place] for place in ranking[:low]]
    return Selection(frozenset(names), reached, trial.count)


def longest_run(
    trial: "Trial",
    ranking: Sequence[int],
    windows: NDArray[np.int64],
    max_kld: float,
    pool: Executor,
    bar: Progress,
) -> tuple[int, float]:
    """How many of the first of the ranking fit, and their KL divergence on the worst window.

    Bisection looks only at windows that were the worst of all before, which is most often one; all
    windows are measured where these fit. Those that then don't fit are looked at from there on.
    """
    low = fits = 0  # the first `low` fit on all windows, the first `fits` on the worst ones
    high, reached, worst = len(ranking), 0.0, set[int]()
    while low < high:
        of_all = not worst or fits == high
        middle = high if fits == high else (fits + high + 1) // 2
        looked_at = range(len(windows)) if of_all else sorted(worst)
        klds = trial.divergences(ranking[:middle], windows[list(looked_at)], pool)
        bar.advance()
        if max(klds) <= max_kld:
            fits = middle
            low, reached = (middle, max(klds)) if of_all else (low, reached)
        else:
            high = middle - 1
            fits = low if of_all else fits
        if of_all:
            worst.add(int(np.argmax(klds)))
    return low, reached


class Trial:
    """A graph in which each of the named MatMuls is there as float and as integer."""

    def __init__(
        self, model: ir.Model, names: Sequence[str], quantise: Quantiser, scratch: Path
    ) -> None:
        write_model(model, scratch)
        doubled = open_graph(scratch, scratch)
        chosen = [one for one in linears(doubled) if one.name in set(names)]
        self.names = [one.name for one in chosen]
        self.count = len(chosen)
        self._integer = _double(doubled, chosen, quantise)
        self._evaluator = Evaluator(doubled)
        self._float: dict[bytes, NDArray[np.float32]] = {}
        self._starts: dict[str, frozenset[str]] = {}
        self._kept: dict[bytes, dict[str, NDArray[np.float32]]] = {}

    def remember(self, window: NDArray[np.int64]) -> None:
        """Keep what the float graph computes between its layers for a window [tokens], so that with
        one MatMul integer a run begins shortly before it."""
        self._log_probabilities(window[:1], [])  # finds what depends on weights alone
        names = [before for before, _ in self._integer]
        self._starts = self._evaluator.starts("logits", names) if names else {}
        between = frozenset[str]().union(*self._starts.values())
        values = dict(self._evaluator.values(["logits", *between], window))
        self._float[window.tobytes()] = _normalised(values.pop("logits"))
        self._kept[window.tobytes()] = values

    def divergences(
        self, integer: Sequence[int], windows: NDArray[np.int64], pool: Executor
    ) -> list[float]:
        """KL divergence in nats from the float graph on each of the windows, where these are
        integer."""
        return list(pool.map(self.of_window, [integer] * len(windows), windows))

    def of_window(self, integer: Sequence[int], window: NDArray[np.int64]) -> float:
        """The mean KL divergence on one window [context]."""
        wanted = self._wanted(window)
        got = self._log_probabilities(window, integer)
        likely = np.exp(wanted)
        terms = likely * (wanted - got) - likely + np.exp(got)  # none is below zero
        return float(terms.sum(-1).mean())

    def _wanted(self, window: NDArray[np.int64]) -> NDArray[np.float32]:
        key = window.tobytes()
        if key not in self._float:
            self._float[key] = self._log_probabilities(window, [])
        return self._float[key]

    def _log_probabilities(
        self, window: NDArray[np.int64], integer: Sequence[int]
    ) -> NDArray[np.float32]:
        """Of what follows each token of a window: [context, vocabulary]."""
        instead = dict(self._integer[place] for place in integer)
        known: dict[str, NDArray[np.float32]] = {}
        if len(instead) == 1 and (kept := self._kept.get(window.tobytes())):
            known = {name: kept[name] for name in self._starts[next(iter(instead))]}
        [(_, logits)] = self._evaluator.values(["logits"], window, instead, known)
        return _normalised(logits)


def _normalised(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log-probabilities [context, vocabulary] of logits [1, context, vocabulary]."""
    values: NDArray[np.float32] = logits[0] - logits[0].max(-1, keepdims=True)
    values -= np.log(np.exp(values).sum(-1, keepdims=True))
    return values


def _double(
    model: ir.Model, chosen: Sequence[Linear], quantise: Quantiser
) -> list[tuple[str, str]]:
    """Give each MatMul a twin that is integer; the names of what both of them give out."""
    twins, names = [], []
    for linear in chosen:
        before = linear.node.outputs[0]
        twin = ir.node("MatMul", list(linear.node.inputs), name=f"{linear.name}_twin")
        after = twin.outputs[0]
        after.name, after.shape, after.type = f"{before.name}_twin", before.shape, before.type
        model.graph.insert_after(linear.node, [twin])
        twins.append(Linear(twin))
        names.append((str(before.name), after.name))
    quantise(model, twins)
    return names
