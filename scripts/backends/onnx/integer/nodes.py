"""INT8 MatMuls: integer weights per column, activations quantised at run time or beforehand.

Operators: onnxruntime's DynamicQuantizeMatMul (docs/ContribOperators.md), and ONNX's
QuantizeLinear and DequantizeLinear, which onnxruntime fuses into integer kernels when it loads.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from scripts.backends.onnx.graph import Linear, constant, replace
from scripts.backends.onnx.integer.weights import (
    ZERO_POINTS,
    IntegerWeight,
    WeightOf,
    WeightType,
)
from scripts.progress import track


def _stored(
    model: ir.Model, linear: Linear, weight: IntegerWeight
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Integer codes, scales and zero points of a MatMul's weight, as constants of the model."""
    codes, scale = weight
    value = linear.node.inputs[1]
    name = linear.name if value is None else value.name
    kind: WeightType = "int8" if codes.dtype == np.int8 else "uint8"
    zeros = np.full(scale.shape, ZERO_POINTS[kind], kind)
    return (
        constant(model, f"{name}_{kind}", codes),
        constant(model, f"{name}_scale", scale),
        constant(model, f"{name}_zero_point", zeros),
    )


def dynamic(model: ir.Model, chosen: Sequence[Linear], weight_of: WeightOf) -> None:
    """Activations are quantised to uint8 at run time, one scale for all of a call's tokens."""
    for linear in track(list(chosen), "quantising", lambda one: one.bytes):
        old = linear.node
        inputs = [old.inputs[0], *_stored(model, linear, weight_of(linear))]
        node = ir.node(
            "DynamicQuantizeMatMul", inputs, domain="com.microsoft", name=f"{linear.name}_int8"
        )
        replace(model, old, [node])


def activation_scale(low: float, high: float) -> tuple[np.float32, np.uint8]:
    """Scale and zero point of uint8 for values in [low, high], zero among them."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32((high - low) / 255)
    return scale, np.uint8(np.clip(round(-low / float(scale)), 0, 255))


def static(
    model: ir.Model,
    chosen: Sequence[Linear],
    ranges: Mapping[str, tuple[float, float]],
    weight_of: WeightOf,
) -> None:
    """Activations are quantised to uint8 with fixed ranges, by the name of the MatMul's input."""
    quantised: dict[str, ir.Value] = {}
    for linear in track(list(chosen), "quantising", lambda one: one.bytes):
        old = linear.node
        source = old.inputs[0]
        assert source is not None
        assert source.name is not None
        before: list[ir.Node] = []
        if source.name not in quantised:
            before = _quantise_dequantise(model, source, ranges[source.name])
            quantised[source.name] = before[-1].outputs[0]
        weight = weight_of(linear)
        weights = ir.node(
            "DequantizeLinear",
            _stored(model, linear, weight),
            {"axis": 1} if weight[1].ndim else {},
            name=f"{linear.name}_weight_DQ",
        )
        weights.outputs[0].name = f"{linear.name}_weight_DQ_output"
        product = ir.node(
            "MatMul", [quantised[source.name], weights.outputs[0]], name=f"{linear.name}_int8"
        )
        replace(model, old, [*before, weights, product])


def _quantise_dequantise(
    model: ir.Model, source: ir.Value, edges: tuple[float, float]
) -> list[ir.Node]:
    step, zero = activation_scale(*edges)
    scale = constant(model, f"{source.name}_scale", np.array(step, np.float32))
    point = constant(model, f"{source.name}_zero_point", np.array(zero, np.uint8))
    quantise = ir.node("QuantizeLinear", [source, scale, point], name=f"{source.name}_Q")
    quantise.outputs[0].name = f"{source.name}_Q_output"
    restore = ir.node(
        "DequantizeLinear", [quantise.outputs[0], scale, point], name=f"{source.name}_DQ"
    )
    restore.outputs[0].name = f"{source.name}_DQ_output"
    return [quantise, restore]
