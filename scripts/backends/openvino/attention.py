"""Grouped-query attention of ONNX graphs in OpenVINO's own operations.

OpenVINO reads the operator from ONNX, but its files can't hold it. What it computes: onnxruntime,
docs/ContribOperators.md, com.microsoft.GroupQueryAttention. The form here is one that the CPU
plugin fuses into a single operation with the cache: cached keys in the order of `beam_idx`, the new
ones behind them, heads repeated, scaled dot product with a mask.
"""

from dataclasses import dataclass, field

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from scripts.errors import QuantmakeError

OPERATOR = "GroupQueryAttention"
# The places of its inputs; query, key and value come first.
_CACHED, _COSINES, _SINES, _POSITIONS = 3, 7, 8, 9
_OTHER_INPUTS = {10: "an attention bias", 11: "attention sinks", 12: "a quantised KV cache"}


@dataclass
class Attention:
    """Replaces the operators of one model; what several of them need is computed once.

    `tokens` are the ids [batch, new], `mask` [batch, past + new] is 1 where a token counts.
    """

    tokens: ov.Output
    mask: ov.Output
    _made: dict[object, ov.Output] = field(default_factory=dict)

    def replace(self, node: ov.Node) -> None:
        """Put operations in the place of `node`. Its outputs are the product [batch, new, heads ·
        head], and keys and values [batch, KV heads, past + new, head], the cached ones first."""
        refuse_unsupported(node)
        said = node.get_attributes()
        heads, shared, width = said["num_heads"], said["kv_num_heads"], _width(node)
        query, key, value, *cached = (node.input_value(at) for at in range(_CACHED + 2))
        if said["do_rotary"]:
            turn = self._angles(node)
            query, key = (_rotated(x, *turn, said["rotary_interleaved"]) for x in (query, key))
        present = [
            ops.concat([past, new], 2).output(0)
            for past, new in zip(cached, (key, value), strict=True)
        ]
        repeated = [_repeated(one, heads // shared, heads, width) for one in present]
        scale = [ops.constant(np.float32(said["scale"]))] if said["scale"] else []
        product = ops.scaled_dot_product_attention(
            query, *repeated, self._bias(said["local_window_size"]), *scale
        )
        rows = ops.transpose(product, ops.constant(np.array([0, 2, 1, 3])))
        merged = ops.reshape(rows, np.array([0, 0, heads * width]), special_zero=True)
        for before, after in zip(node.outputs(), [merged.output(0), *present], strict=True):
            before.replace(after)

    def _once(self, key: object, made: "ov.Node") -> ov.Output:
        return self._made.setdefault(key, made.output(0))

    def _positions(self) -> ov.Output:
        """[new]: past, past + 1, …"""
        if "positions" not in self._made:
            end, new = _length(self.mask), _length(self.tokens)
            start = ops.subtract(end, new)
            self._made["positions"] = ops.range(start, end, np.int64(1), "i64").output(0)
        return self._made["positions"]

    def _angles(self, node: ov.Node) -> tuple[ov.Output, ov.Output]:
        """Cosines and sines [batch or 1, 1, new, half of what is rotated]."""
        given = not _is_absent(node, _POSITIONS)
        positions = node.input_value(_POSITIONS) if given else self._positions()
        axes = ops.constant(np.array([1] if given else [0, 1]))
        tables = [node.input_value(at) for at in (_COSINES, _SINES)]
        cosines, sines = (
            self._once(
                ("angles", table.get_node().get_friendly_name()),
                ops.unsqueeze(ops.gather(table, positions, np.int64(0)), axes),
            )
            for table in tables
        )
        return cosines, sines

    def _bias(self, window: int) -> ov.Output:
        """What is added to the scores, [batch, 1, new, past + new]: 0, or the lowest float32 where
        a key is in the future, further back than the window, or masked."""
        if ("bias", window) in self._made:
            return self._made["bias", window]
        queries = ops.unsqueeze(self._positions(), np.int64(1))
        keys = ops.range(np.int64(0), _length(self.mask), np.int64(1), "i64")
        seen = ops.less_equal(keys, queries)
        if window > 0:
            seen = ops.logical_and(seen, ops.less(ops.subtract(queries, keys), np.int64(window)))
        counts = ops.unsqueeze(ops.not_equal(self.mask, np.int64(0)), np.array([1, 2]))
        lowest = np.finfo(np.float32).min
        bias = ops.select(ops.logical_and(seen, counts), np.float32(0), lowest)
        return self._once(("bias", window), bias)


def refuse_unsupported(node: ov.Node) -> None:
    """Raise QuantmakeError that names what the operator asks for and is not computed here."""
    said = node.get_attributes()
    asks = [what for at, what in _OTHER_INPUTS.items() if not _is_absent(node, at)]
    asks += ["a smooth softmax"] * said["smooth_softmax"]
    asks += ["attention to what comes later"] * (not said["causal"])
    if asks:
        raise QuantmakeError(
            f"{node.get_friendly_name()} asks for {' and '.join(asks)}, which can't be written for "
            "OpenVINO here. Take the artefacts with format openvino out of the recipe."
        )


def _is_absent(node: ov.Node, at: int) -> bool:
    """Whether the operator has no such input: OpenVINO reads an empty constant then."""
    if at >= node.get_input_size():
        return True
    shape = node.input_value(at).get_partial_shape()
    return bool(shape.is_static and 0 in shape.to_shape())


def _width(node: ov.Node) -> int:
    """Of a head."""
    return int(node.input_value(0).get_partial_shape()[3].get_length())


def _length(value: ov.Output) -> ov.Node:
    """The number of columns of [batch, columns]."""
    return ops.gather(ops.shape_of(value), np.int64(1), np.int64(0))


def _rotated(x: ov.Output, cosines: ov.Output, sines: ov.Output, interleaved: bool) -> ov.Output:
    """Rotary embedding of x [batch, heads, new, head]; what the tables do not cover stays.

    Pairs are the two halves of what is rotated, or neighbours where it is `interleaved`.
    """
    half = cosines.get_partial_shape()[3].get_length()
    rest = x.get_partial_shape()[3].get_length() - 2 * half
    last = np.int64(-1)
    lengths = [2 * half, rest] if rest else [2 * half]
    turned, *kept = ops.variadic_split(x, last, np.array(lengths)).outputs() if rest else [x]
    if interleaved:
        pairs = ops.reshape(turned, np.array([0, 0, 0, half, 2]), special_zero=True)
        columns = ops.split(pairs, last, 2).outputs()
        first, second = (ops.squeeze(one, last).output(0) for one in columns)
    else:
        first, second = ops.variadic_split(turned, last, np.array([half, half])).outputs()
    one = ops.subtract(ops.multiply(first, cosines), ops.multiply(second, sines))
    other = ops.add(ops.multiply(second, cosines), ops.multiply(first, sines))
    if interleaved:
        stacked = ops.concat([ops.unsqueeze(part, last) for part in (one, other)], -1)
        whole = ops.reshape(stacked, np.array([0, 0, 0, 2 * half]), special_zero=True)
    else:
        whole = ops.concat([one, other], -1)
    return (ops.concat([whole, *kept], -1) if rest else whole).output(0)


def _repeated(x: ov.Output, times: int, heads: int, width: int) -> ov.Output:
    """Each of the KV heads [batch, KV heads, n, head] `times` over."""
    if times == 1:
        return x
    wide = ops.unsqueeze(x, np.int64(2))
    many = ops.broadcast(wide, np.array([1, 1, times, 1, 1]), broadcast_spec="BIDIRECTIONAL")
    return ops.reshape(many, np.array([0, heads, -1, width]), special_zero=True).output(0)
