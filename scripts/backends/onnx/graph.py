"""Reading and writing graphs with external data; finding the MatMuls with constant weights.

Weights stay in the external file, mapped into memory, until one of them is replaced.
"""

import fnmatch
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir import external_data
from onnx_ir.passes.common import RemoveUnusedNodesPass

from scripts.errors import QuantmakeError
from scripts.hashed_file import HashedFile, hashing

MODEL = "model.onnx"
DATA = "model.onnx.data"
_SCRATCH = "scratch"
_LARGE = 1 << 20  # bytes


class _Streamed(ir.Tensor[NDArray[np.generic]]):
    """A tensor that is written from where it lies, to any file."""

    def tofile(self, file: HashedFile) -> None:
        """Without the copy that `tobytes` makes."""
        file.write(self.raw.data)


@dataclass(frozen=True)
class Linear:
    """A MatMul whose second input is a constant [K, N]: its node and its name for people."""

    node: ir.Node

    @property
    def name(self) -> str:
        """The node's name, such as /model/layers.0/mlp/down_proj/MatMul."""
        return self.node.name or ""

    @property
    def columns(self) -> int:
        """K, the width that the weights are multiplied along."""
        return int(self._constant().numpy().shape[0])

    @property
    def rows(self) -> int:
        """N, the outputs."""
        return int(self._constant().numpy().shape[1])

    @property
    def bytes(self) -> int:
        """What the weight takes in float32."""
        rows, columns = self._constant().shape.numpy()
        return 4 * rows * columns

    def weight(self) -> NDArray[np.float32]:
        """The weight [K, N]; raises QuantmakeError where it is not finite."""
        value = self._constant().numpy().astype(np.float32, copy=False)
        if not np.isfinite(value).all():
            raise QuantmakeError(
                f"{self.name}: its weight holds NaN or infinity; mend the source model"
            )
        return value

    def _constant(self) -> ir.TensorProtocol:
        weight = self.node.inputs[1]
        assert weight is not None
        assert weight.const_value is not None
        return weight.const_value


def open_graph(folder: Path, scratch: Path | None = None) -> ir.Model:
    """The graph of a folder, its weights still on disk.

    Large constants that are added to it wait in files without a name in the folder `scratch`, if
    one is given, and not in memory.
    """
    model = ir.load(folder / MODEL)
    model.meta[_SCRATCH] = scratch
    return model


def save_graph(model: ir.Model, source: Path, out: Path) -> None:
    """Write the graph with its external data and the files beside it (tokenizer, configs)."""
    write_model(model, out)
    for path in sorted(source.iterdir()):
        if path.is_file() and path.name not in (MODEL, DATA):
            shutil.copyfile(path, out / path.name)


def write_model(model: ir.Model, out: Path) -> None:
    """Write model.onnx and model.onnx.data; nothing that no node reads is written."""
    RemoveUnusedNodesPass()(model)
    with hashing(external_data):
        ir.save(model, out / MODEL, external_data=DATA)


def linears(model: ir.Model) -> list[Linear]:
    """Every MatMul with a constant weight of two dimensions, in the order of the graph."""
    made = []
    for node in model.graph:
        weight = node.inputs[1] if node.op_type == "MatMul" else None
        constant = weight.const_value if weight is not None else None
        if constant is not None and len(constant.shape) == 2:
            made.append(Linear(node))
    if not made:
        raise QuantmakeError("the graph has no MatMul with a constant weight to quantise")
    return made


def head(model: ir.Model) -> Linear | None:
    """The MatMul that gives the logits."""
    outputs = {value.name for value in model.graph.outputs}
    return next((one for one in linears(model) if one.node.outputs[0].name in outputs), None)


def embedding(model: ir.Model) -> tuple[ir.Node, ir.Value] | None:
    """The Gather of the token embedding, and the constant that it reads, transposed or not."""
    for node in model.graph:
        if node.op_type != "Gather" or not _reads_tokens(node.inputs[1]):
            continue
        table = node.inputs[0]
        maker = table.producer() if table is not None else None
        if maker is not None and maker.op_type == "Transpose":
            table = maker.inputs[0]
        weight = table.const_value if table is not None else None
        if table is not None and weight is not None and len(weight.shape) == 2:
            return node, table
    return None


def _reads_tokens(indices: ir.Value | None) -> bool:
    """Whether the value is the token ids, reshaped or not."""
    while indices is not None and (maker := indices.producer()) is not None:
        if maker.op_type not in ("Reshape", "Cast", "Identity"):
            return False
        indices = maker.inputs[0]
    return indices is not None and indices.name == "input_ids"


def matches(name: str, pattern: str) -> bool:
    """Whether a node's name has the pattern as a part, or fits it where it holds *."""
    return fnmatch.fnmatchcase(name, f"*{pattern}*")


def split(candidates: list[Linear], patterns: list[str]) -> tuple[list[Linear], list[Linear]]:
    """Those that no pattern matches, and those that one does.

    A pattern is a part of a node's name, or one with * in it. Raises QuantmakeError for a
    pattern that matches nothing.
    """
    idle = [one for one in patterns if not any(matches(linear.name, one) for linear in candidates)]
    if idle:
        kinds = dict.fromkeys(re.sub(r"\.\d+\b", ".*", linear.name) for linear in candidates)
        raise QuantmakeError(
            f"weight_only: no MatMul of the graph matches {', '.join(map(repr, idle))}. The "
            f"{len(candidates)} that there are: {', '.join(kinds)}."
        )
    chosen = [any(matches(linear.name, one) for one in patterns) for linear in candidates]
    return (
        [linear for linear, yes in zip(candidates, chosen, strict=True) if not yes],
        [linear for linear, yes in zip(candidates, chosen, strict=True) if yes],
    )


def constant(model: ir.Model, name: str, value: NDArray[np.generic]) -> ir.Value:
    """A new initialiser of the graph."""
    scratch = model.meta.get(_SCRATCH)
    kept = np.ascontiguousarray(value)
    if scratch is not None and kept.nbytes >= _LARGE:
        kept = _mapped(kept, scratch)
    tensor = _Streamed(kept, name=name) if kept.nbytes >= _LARGE else ir.tensor(kept, name=name)
    made = ir.Value(
        name=name, shape=ir.Shape(value.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    model.graph.register_initializer(made)
    return made


def _mapped(value: NDArray[np.generic], scratch: Path) -> NDArray[np.generic]:
    """The same values in a file that is gone once nothing reads it."""
    with tempfile.TemporaryFile(dir=scratch) as file:
        mapped = np.memmap(file, value.dtype, "w+", shape=value.shape)
    mapped[...] = value
    return mapped.view(np.ndarray)


def replace(model: ir.Model, old: ir.Node, new: list[ir.Node]) -> None:
    """Put `new` in the place of `old`; the last new node's output takes over the old one's name."""
    before, after = old.outputs[0], new[-1].outputs[0]
    after.shape, after.type = before.shape, before.type
    name = before.name
    ir.convenience.replace_nodes_and_values(model.graph, old, [old], new, [before], [after])
    after.name = name
