"""An embedding in blocks, read by ONNX's own operators.

The build of onnxruntime-web that transformers.js loads has no GatherBlockQuantized for processors
(1.31: "Could not find an implementation"). What takes its place here gathers the codes and scales
of the tokens alone and gives the same floats, bit for bit.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from scripts.errors import QuantmakeError


def spell_out_embedding(model: onnx.ModelProto) -> None:
    """Replace each GatherBlockQuantized of the graph.

    Raises QuantmakeError for one that reads its table otherwise than the formats here write it.
    """
    graph = model.graph
    makers = {node.output[0]: node for node in graph.node}
    tables = {one.name: tuple(one.dims) for one in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type != "GatherBlockQuantized":
            nodes.append(node)
            continue
        view = makers.get(node.input[0])
        shape = tables.get(view.input[0], ()) if view is not None else ()
        if view is None or len(shape) != 3:
            raise QuantmakeError(
                f"{node.name} reads an embedding that is not in blocks [vocabulary, blocks, "
                "bytes]; quantise the float graph with a format of this project"
            )
        made = _Lookup(node, str(view.input[0]), shape[1])
        graph.initializer.extend(made.constants)
        nodes += made.nodes
    read = {name for node in nodes for name in node.input}
    del graph.node[:]
    views = {output for output, maker in makers.items() if maker.op_type == "Reshape"}
    graph.node.extend(one for one in nodes if one.output[0] not in views - read)


@dataclass
class _Lookup:
    """The nodes of one lookup: rows of codes, minus the zero points, times the scales.

    `packed` is [vocabulary, blocks, bytes]; what comes out is [batch, tokens, width].
    """

    node: onnx.NodeProto
    packed: str
    blocks: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def __post_init__(self) -> None:
        _, tokens, scales, *zeros = self.node.input
        bits = next(one.i for one in self.node.attribute if one.name == "bits")
        codes = self._codes(self._rows(self.packed, tokens, "codes"), bits)
        middle = self._constant("middle", np.array(1 << bits - 1, np.float32))
        if zeros:
            middle = self._codes(self._rows(zeros[0], tokens, "zeros"), bits)
            first = [self._constant(*one) for one in self._first_blocks()]
            middle = self._column(self._add("Slice", "zero_points", middle, *first))
        scale = self._column(self._add("Gather", "scale", scales, tokens))
        product = self._add("Mul", "values", self._add("Sub", "steps", codes, middle), scale)
        flat = self._constant("flat", np.array([0, 0, -1], np.int64))
        self.nodes.append(helper.make_node("Reshape", [product, flat], [self.node.output[0]]))
        self.nodes[-1].name = f"{self.node.name}/embedding"

    def _rows(self, table: str, tokens: str, label: str) -> str:
        """Bytes of the tokens as floats, which hold them exactly."""
        rows = self._add("Gather", f"{label}_bytes", table, tokens)
        return self._add("Cast", f"{label}_floats", rows, to=onnx.TensorProto.FLOAT)

    def _codes(self, values: str, bits: int) -> str:
        """Codes […, n] of bytes […, n], or 2n of those of 4 bits, the low one first."""
        if bits == 8:
            return values
        name = f"{values.removeprefix(self.node.name + '/')}_4"
        sixteen = self._constant(f"{name}_16", np.array(16, np.float32))
        high = self._add("Floor", f"{name}_high", self._add("Div", f"{name}_div", values, sixteen))
        rest = self._add("Mul", f"{name}_rest", high, sixteen)
        low = self._add("Sub", f"{name}_low", values, rest)
        pair = [self._column(low), self._column(high)]
        both = self._add("Concat", f"{name}_pair", *pair, axis=-1)
        wide = [0, 0, -1] if "zeros" in name else [0, 0, self.blocks, -1]
        return self._add("Reshape", name, both, self._constant(f"{name}_shape", np.array(wide)))

    def _first_blocks(self) -> list[tuple[str, NDArray[np.int64]]]:
        """Starts, ends and axes: a row of an odd number of zero points ends within a byte."""
        edges = {"starts": 0, "ends": self.blocks, "axes": 2}
        return [(name, np.array([value], np.int64)) for name, value in edges.items()]

    def _column(self, values: str) -> str:
        """With one more dimension, of one, at the end."""
        last = self._constant(f"last_{len(self.nodes)}", np.array([-1], np.int64))
        return self._add("Unsqueeze", f"column_{len(self.nodes)}", values, last)

    def _add(self, kind: str, label: str, *inputs: str, **attributes: Any) -> str:
        out = f"{self.node.name}/{label}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], out, **attributes))
        return out

    def _constant(self, label: str, value: NDArray[np.generic]) -> str:
        name = f"{self.node.name}/{label}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name
