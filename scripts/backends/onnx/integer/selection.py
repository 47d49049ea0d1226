"""Mixed-precision selection: which MatMuls may be integer with predictions still close enough.

One trial graph holds both forms of each MatMul, and an input chooses between them, so that any
selection is measured by running it. Each MatMul is made integer alone first, which ranks them by
the KL divergence that they cost; then the longest run of the ranking that stays within the limit is
found by bisection, all of it integer at once. Everything is measured on the calibration's text.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray

from scripts.backends.onnx.graph import MODEL, Linear, constant, linears, open_graph, write_model
from scripts.progress import Progress

_FLAGS = "integer"
_RANKING_TOKENS = 160
# Puts the integer form of the MatMuls into a graph, in place.
Quantiser = Callable[[ir.Model, Sequence[Linear]], None]


@dataclass(frozen=True)
class Selection:
    """The names of the MatMuls that are integer, and what that costs in nats."""

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
    """Choose among `candidates` so that the KL divergence over windows [n, context] is at most
    `max_kld` nats; none where even the least harmful one exceeds it.

    `scratch`, an empty folder, receives a copy of the graph in both forms.
    """
    trial = Trial(model, [one.name for one in candidates], quantise, threads, scratch)
    bar = Progress("choosing", trial.count + trial.count.bit_length() + 2)
    short = windows[:1, :_RANKING_TOKENS]
    alone = []
    for place in range(trial.count):
        alone.append(trial.divergence([place], short))
        bar.advance()
    ranking = np.argsort(np.array(alone), kind="stable").tolist()
    low, high, reached = 0, trial.count, 0.0
    while low < high:  # the first `low` of the ranking are known to fit
        middle = (low + high + 1) // 2
        kld = trial.divergence(ranking[:middle], windows)
        bar.advance()
        low, high, reached = (middle, high, kld) if kld <= max_kld else (low, middle - 1, reached)
    names = [trial.names[place] for place in ranking[:low]]
    return Selection(frozenset(names), reached, trial.count)


class Trial:
    """A graph in which each of the named MatMuls is there as float and as integer."""

    def __init__(
        self,
        model: ir.Model,
        names: Sequence[str],
        quantise: Quantiser,
        threads: int,
        scratch: Path,
    ) -> None:
        plain, both = scratch / "plain", scratch / "both"
        for folder in (plain, both):
            folder.mkdir()
        write_model(model, plain)
        doubled = open_graph(plain)
        chosen = [one for one in linears(doubled) if one.name in set(names)]
        self.names = [one.name for one in chosen]
        self.count = len(chosen)
        _double(doubled, chosen, quantise)
        write_model(doubled, both)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = ort.InferenceSession(
            both / MODEL, options, providers=["CPUExecutionProvider"]
        )
        self._inputs = {entry.name: entry for entry in self._session.get_inputs()}
        self._float: dict[bytes, NDArray[np.float32]] = {}

    def divergence(self, integer: Sequence[int], windows: NDArray[np.int64]) -> float:
        """Mean KL divergence in nats from the float graph, where these are integer."""
        flags = np.zeros(self.count, bool)
        flags[list(integer)] = True
        total = 0.0
        for window in windows:
            wanted = self._wanted(window)
            got = self._log_probabilities(window, flags)
            likely = np.exp(wanted)
            terms = likely * (wanted - got) - likely + np.exp(got)  # none is below zero
            total += float(terms.sum(-1).mean())
        return total / len(windows)

    def _wanted(self, window: NDArray[np.int64]) -> NDArray[np.float32]:
        key = window.tobytes()
        if key not in self._float:
            self._float[key] = self._log_probabilities(window, np.zeros(self.count, bool))
        return self._float[key]

    def _log_probabilities(
        self, window: NDArray[np.int64], flags: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """Of what follows each token of a window: [context, vocabulary]."""
        given = {
            "input_ids": window[None],
            "attention_mask": np.ones((1, len(window)), np.int64),
            "position_ids": np.arange(len(window), dtype=np.int64)[None],
            _FLAGS: flags,
        }
        feeds = {name: given[name] for name in given if name in self._inputs}
        for name, entry in self._inputs.items():
            if name.startswith("past_key_values"):
                feeds[name] = np.zeros((1, entry.shape[1], 0, entry.shape[3]), np.float32)
        logits: NDArray[np.float32] = self._session.run(["logits"], feeds)[0][0]
        logits = logits - logits.max(-1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
        return logits


def _double(model: ir.Model, chosen: Sequence[Linear], quantise: Quantiser) -> None:
    """Give each MatMul a twin that is integer, and let the input choose which one is read."""
    flags = ir.Value(
        name=_FLAGS, shape=ir.Shape([len(chosen)]), type=ir.TensorType(ir.DataType.BOOL)
    )
    model.graph.inputs.append(flags)
    twins = []
    for place, linear in enumerate(chosen):
        old = linear.node
        before = old.outputs[0]
        twin = ir.node("MatMul", list(old.inputs), name=f"{linear.name}_twin")
        at = constant(model, f"{linear.name}_at", np.array(place, np.int64))
        flag = ir.node("Gather", [flags, at], name=f"{linear.name}_flag")
        choice = ir.node(
            "Where",
            [flag.outputs[0], twin.outputs[0], before],
            name=f"{linear.name}_choice",
        )
        for made, end in ((twin, "twin"), (flag, "flag"), (choice, "choice")):
            made.outputs[0].name = f"{before.name}_{end}"
        choice.outputs[0].shape, choice.outputs[0].type = before.shape, before.type
        users = [(use.node, use.idx) for use in before.uses() if use.node is not choice]
        for user, index in users:
            user.replace_input_with(index, choice.outputs[0])
        model.graph.insert_after(old, [twin, flag, choice])
        twins.append(Linear(twin))
    quantise(model, twins)
