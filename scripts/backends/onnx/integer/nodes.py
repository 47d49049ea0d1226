"""INT8 MatMuls: integer weights per column, activations quantised at run time or beforehand.

Operators: onnxruntime's DynamicQuantizeMatMul (docs/ContribOperators.md), and ONNX's
QuantizeLinear and DequantizeLinear, which onnxruntime fuses into integer kernels when it loads.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from scripts.backends.onnx.graph import Linear, constant, replace
from scripts.progress import track

WeightType = Literal["uint8", "int8"]
"""Of uint8 activations and int8 weights onnxruntime's kernels for x86 processors without VNNI add
pairs of products in 16 bits, which saturate; those for uint8 weights are exact on all, and do not
use VNNI where it is there."""
ZERO_POINTS: dict[WeightType, int] = {"uint8": 128, "int8": 0}
_MAX_CODE = 127


def integer_weight(
    weight: NDArray[np.float32], *, per_channel: bool, kind: WeightType = "uint8"
) -> tuple[NDArray[np.uint8] | NDArray[np.int8], NDArray[np.float32]]:
    """Integer codes [K, N] of a weight [K, N], symmetric around its type's zero point, with scales
    [N], or one scale []."""
    magnitude = np.abs(weight).max(axis=0 if per_channel else None)
    scale = np.where(magnitude == 0, 1, magnitude).astype(np.float32) / np.float32(_MAX_CODE)
    codes = np.clip(np.rint(weight / scale), -_MAX_CODE, _MAX_CODE)
    return (codes + ZERO_POINTS[kind]).astype(kind), scale


def _stored(
    model: ir.Model, linear: Linear, *, per_channel: bool, kind: WeightType = "uint8"
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Integer codes, scales and zero points of a MatMul's weight, as constants of the model."""
    codes, scale = integer_weight(linear.weight(), per_channel=per_channel, kind=kind)
    value = linear.node.inputs[1]
    name = linear.name if value is None else value.name
    zeros = np.full(scale.shape, ZERO_POINTS[kind], kind)
    return (
        constant(model, f"{name}_{kind}", codes),
        constant(model, f"{name}_scale", scale),
        constant(model, f"{name}_zero_point", zeros),
    )


def dynamic(
    model: ir.Model, chosen: Sequence[Linear], *, per_channel: bool, kind: WeightType = "uint8"
) -> None:
    """Activations are quantised to uint8 at run time, one scale for all of a call's tokens."""
    for linear in track(list(chosen), "quantising", lambda one: one.bytes):
        old = linear.node
        inputs = [old.inputs[0], *_stored(model, linear, per_channel=per_channel, kind=kind)]
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
    *,
    per_channel: bool,
    kind: WeightType = "uint8",
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
        weights = ir.node(
            "DequantizeLinear",
            _stored(model, linear, per_channel=per_channel, kind=kind),
            {"axis": 1} if per_channel else {},
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
