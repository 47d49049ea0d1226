"""The linears of the model among the MatMuls of the graph, with what errors in them cost."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from scripts.backends.captured import captured_name
from scripts.backends.onnx.graph import Linear, embedding, head
from scripts.calibration.stored import Captured
from scripts.errors import QuantmakeError

_MERGED = ("q_proj", "k_proj", "v_proj")
_FUSED = ("shared_mlp.input_linear", "up_proj")  # Granite's, and its second half in the graph
EMBEDDING = "the embedding"
"""The place, and the source of the Hessian, of one that is not the head's weight too."""


@dataclass(frozen=True)
class Piece:
    """A linear of the model: the outputs `rows` of the MatMul `place`; or the embedding.

    `source` is the name of its Hessian, `counts` [rows] what an error in each row counts: the loss
    of an error dW is ½ Σ_r counts[r] · dW[r] H dW[r]ᵀ nats a token. `weight` gives [rows, columns].
    """

    name: str
    place: str
    rows: slice
    columns: int
    source: str
    counts: torch.Tensor
    weight: Callable[[], torch.Tensor]
    reads_tokens: bool
    """whether it is the head or the embedding"""

    @property
    def count(self) -> int:
        """Of its rows."""
        return len(self.counts)


class Pieces:
    """What the capture and the gradients tell of a graph's MatMuls and its embedding."""

    def __init__(
        self, model: ir.Model, captured: Captured, squares: Mapping[str, NDArray[np.float32]]
    ) -> None:
        self._captured = captured
        self._squares = {name: torch.from_numpy(square) for name, square in squares.items()}
        last, self._lookup = head(model), embedding(model)
        self._head = captured_name(last, captured) if last is not None else None
        read = self._lookup[1] if self._lookup is not None else None
        self._is_tied = last is not None and read is last.node.inputs[1]

    def of(self, linear: Linear) -> Iterator[Piece]:
        """In the order of the outputs; none where the capture has not seen the MatMul. Raises
        QuantmakeError where the gradients are of other outputs."""
        first = captured_name(linear, self._captured)
        if first is None:
            return
        names = [first]
        if "qkv_proj" in linear.name and first.endswith(_MERGED[0]):
            names = [first.replace(_MERGED[0], one) for one in _MERGED]
        counts = [self._squares.get(name, torch.zeros(0)) for name in names]
        sources = [self._captured.source_of(name) for name in names]
        if first.endswith(_FUSED[0]):  # the graph has its halves, the gate's rows first
            half = _FUSED[1] in linear.name
            counts = [counts[0].view(2, -1)[int(half)]]
            names = [f"{first} {_FUSED[1] if half else 'gate_proj'}"]
        known = sum(map(len, counts))
        if known != linear.rows:
            raise QuantmakeError(
                f"{linear.name} has {linear.rows} outputs, and the gradients know {known} of "
                f"{', '.join(names)}: the graph computes otherwise than the model there, so `bits: "
                "auto` can't be used. Choose `bits: 4`."
            )
        start = 0
        for name, source, count in zip(names, sources, counts, strict=True):
            rows = slice(start, start + len(count))
            weight = partial(_outputs, linear, rows)
            is_head = name == self._head
            yield Piece(name, linear.name, rows, linear.columns, source, count, weight, is_head)
            start = rows.stop

    def of_embedding(self) -> Iterator[Piece]:
        """The embedding, where it is not the head's weight too, and the gradients know it."""
        if self._lookup is None or self._is_tied or self._head not in self._squares:
            return
        gather, table = self._lookup
        assert table.const_value is not None
        shape = list(table.const_value.shape.numpy())
        rows, columns = shape if gather.inputs[0] is table else shape[::-1]
        counts = self._squares[str(self._head)]
        if len(counts) == rows:
            weight = partial(_table, table.const_value, transposed=gather.inputs[0] is not table)
            every = slice(0, rows)
            yield Piece(EMBEDDING, EMBEDDING, every, columns, EMBEDDING, counts, weight, True)

    def hessian(self, source: str) -> torch.Tensor:
        """H [K, K], float32; of a head that is the embedding too, of both uses."""
        if source == EMBEDDING:
            return self._of_reading().diag()
        hessian = torch.from_numpy(self._captured.hessian(source))
        is_head = self._head is not None and source == self._captured.source_of(self._head)
        if not is_head or not self._is_tied:
            return hessian
        # A token is read as often as it is expected: both uses weigh its row alike.
        return hessian + self._of_reading().diag()

    def _of_reading(self) -> torch.Tensor:
        """Mean squared gradient [width] at the outputs of the embedding."""
        [square] = (self._squares[name] for name in self._squares.keys() - {*self._captured.names})
        return square


def _outputs(linear: Linear, rows: slice) -> torch.Tensor:
    return torch.from_numpy(np.array(linear.weight()[:, rows].T, np.float32, order="C"))


def _table(table: ir.TensorProtocol, transposed: bool) -> torch.Tensor:
    weight = table.numpy()
    return torch.from_numpy(np.array(weight.T if transposed else weight, np.float32, order="C"))
