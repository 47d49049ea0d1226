"""INT8 MatMuls: integer weights per column, activations quantised at run time or beforehand.

Operators: onnxruntime's DynamicQuantizeMatMul (docs/ContribOperators.md), and ONNX's
QuantizeLinear and DequantizeLinear, which onnxruntime fuses into integer kernels when it loads.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from scripts.backends.onnx.graph import Linear, constant, replace
from scripts.progress import track


def integer_weight(
    weight: NDArray[np.float32], *, per_channel: bool, reduce_range: bool
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 [K, N] of a weight [K, N] with scales [N], or one scale [].

    `reduce_range` keeps to 7 bits, for processors whose 16-bit sums saturate (x86 without VNNI).
    """
    max_code = 63 if reduce_range else 127
    magnitude = np.abs(weight).max(axis=0 if per_channel else None)
    scale = np.where(magnitude == 0, 1, magnitude).astype(np.float32) / np.float32(max_code)
    return np.clip(np.rint(weight / scale), -max_code, max_code).astype(np.int8), scale


def dynamic(
    model: ir.Model, chosen: Sequence[Linear], *, per_channel: bool, reduce_range: bool
) -> None:
    """Activations are quantised to uint8 at run time, one scale for all of a call's tokens."""
    for linear in track(list(chosen), "quantising", lambda one: one.bytes):
        old = linear.node
        weight, scale = integer_weight(
            linear.weight(), per_channel=per_channel, reduce_range=reduce_range
        )
        name = old.inputs[1].name if old.inputs[1] is not None else linear.name
        inputs = [
            old.inputs[0],
            constant(model, f"{name}_int8", weight),
            constant(model, f"{name}_scale", scale),
        ]
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
    reduce_range: bool,
) -> None:
    """Activations are quantised to uint8 with fixed ranges, by the name of the MatMul's input."""
    quantised: dict[str, ir.Value] = {}
    for linear in track(list(chosen), "quantising", lambda one: one.bytes):
        old = linear.node
        weight, scale = integer_weight(
            linear.weight(), per_channel=per_channel, reduce_range=reduce_range
        )
        source = old.inputs[0]
        assert source is not None
        assert source.name is not None
        name = old.inputs[1].name if old.inputs[1] is not None else linear.name
        before: list[ir.Node] = []
        if source.name not in quantised:
            before = _quantise_dequantise(model, source, ranges[source.name])
            quantised[source.name] = before[-1].outputs[0]
        weights = ir.node(
            "DequantizeLinear",
            [constant(model, f"{name}_int8", weight), constant(model, f"{name}_scale", scale)],
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
