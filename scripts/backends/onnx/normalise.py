"""Bring a traced graph into the form that the formats expect: MatMuls, one copy of a tied head."""

import numpy as np
import onnx_ir as ir

from scripts.backends.onnx.graph import constant, embedding, head, replace


def normalise(model: ir.Model) -> None:
    """Rewrite, in place, what optimum's exporter writes otherwise than the builder."""
    _split_gemms(model)
    _share_tied_head(model)


def _split_gemms(model: ir.Model) -> None:
    """Gemm(x, constant [K, N], bias) becomes MatMul and Add; GPT-2's linears are exported so."""
    for old in [node for node in model.graph if node.op_type == "Gemm"]:
        source, weight, *bias = old.inputs
        settings = {name: old.attributes[name].value for name in old.attributes}
        table = weight.const_value if weight is not None else None
        plain = settings.get("alpha", 1.0) == settings.get("beta", 1.0) == 1.0
        if weight is None or table is None or not plain or settings.get("transA", 0):
            continue
        if settings.get("transB", 0):
            weight = constant(model, f"{weight.name}_transposed", table.numpy().T)
        new = [ir.node("MatMul", [source, weight], name=f"{old.name}/MatMul")]
        new[0].outputs[0].name = f"{old.name}/MatMul_output"
        if bias and bias[0] is not None:
            new.append(ir.node("Add", [new[0].outputs[0], bias[0]], name=f"{old.name}/Add"))
        replace(model, old, new)


def _share_tied_head(model: ir.Model) -> None:
    """Let the embedding's Gather read the head's weight [K, N], transposed, where they agree."""
    lookup, last = embedding(model), head(model)
    if lookup is None or last is None:
        return
    gather, table = lookup
    weight = last.node.inputs[1]
    if weight is None or weight is table or table.const_value is None:
        return
    rows, columns = table.const_value.numpy(), last.weight()
    if rows.shape != columns.T.shape or not np.array_equal(rows, columns.T):
        return
    name = f"{gather.name}/Transpose"
    turned = ir.node("Transpose", [weight], {"perm": [1, 0]}, name=name)
    turned.outputs[0].name = f"{name}_output"
    read = ir.node(
        "Gather", [turned.outputs[0], gather.inputs[1]], {"axis": 0}, name=f"{gather.name}_shared"
    )
    replace(model, gather, [turned, read])
