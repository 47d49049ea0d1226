"""Merged MatMuls, such as that of queries, keys and values, apart again: each with a type of its
own."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from scripts.backends.onnx.graph import Linear, replace


def split(model: ir.Model, linear: Linear, outputs: Sequence[tuple[str, slice]]) -> list[Linear]:
    """Put MatMuls of some outputs each, and a Concat, in the place of one MatMul; `outputs` are the
    name and the columns of the weight [K, N] of each, in order. Weights are read when asked for.
    """
    old = linear.node
    weight = old.inputs[1]
    assert weight is not None
    assert weight.const_value is not None
    nodes = []
    for name, columns in outputs:
        part = ir.LazyTensor(
            partial(_columns, weight.const_value, columns),
            dtype=weight.const_value.dtype,
            shape=ir.Shape([linear.columns, columns.stop - columns.start]),
            name=f"{name}.weight",
        )
        value = ir.Value(
            name=part.name, shape=part.shape, type=ir.TensorType(part.dtype), const_value=part
        )
        model.graph.register_initializer(value)
        node = ir.node("MatMul", [old.inputs[0], value], name=name)
        node.outputs[0].name = f"{name}/output_0"
        node.outputs[0].type = old.outputs[0].type
        nodes.append(node)
    joined = ir.node(
        "Concat", [node.outputs[0] for node in nodes], {"axis": -1}, name=f"{linear.name}/Concat"
    )
    replace(model, old, [*nodes, joined])
    return [Linear(node) for node in nodes]


def _columns(weight: ir.TensorProtocol, columns: slice) -> ir.Tensor[NDArray[np.generic]]:
    return ir.Tensor(weight.numpy()[:, columns])
