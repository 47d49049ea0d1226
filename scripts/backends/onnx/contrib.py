"""onnxruntime's own operators, as decoders have them, in arithmetic that is the same everywhere.

What they compute is laid down in onnxruntime's docs/ContribOperators.md. One sequence at a time:
the batch is 1, and nothing is padded.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.arithmetic.products import product

Array = NDArray[Any]
Floats = NDArray[np.float32]
Attributes = Mapping[str, Any]
Inputs = Sequence[Any]  # arrays, and None for those that are left out
Kernel = Callable[[Inputs, Attributes], tuple[Array | None, ...]]

# Integers below 2^24 are exact in float32: sums of as many products of 8-bit numbers.
_EXACT_TERMS = 2**24 // (255 * 128)
_EPSILON = 1e-12  # what onnxruntime takes where a norm names none


def _matmul(inputs: Inputs, _: Attributes) -> tuple[Array]:
    left, right = inputs[:2]
    return (multiplied(left, right),)


def multiplied(left: Array, right: Array) -> Array:
    """left [.., M, K] right [.., K, N] or [K, N], as MatMul; canonical for float32."""
    if left.dtype != np.float32 or min(left.ndim, right.ndim) < 2:
        result: Array = np.matmul(left, right)
        return result
    if right.ndim == 2:
        flat = product(left.reshape(-1, left.shape[-1]), right)
        return flat.reshape(*left.shape[:-1], right.shape[-1])
    outer = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    wide = np.broadcast_to(left, (*outer, *left.shape[-2:])).reshape(-1, *left.shape[-2:])
    other = np.broadcast_to(right, (*outer, *right.shape[-2:])).reshape(-1, *right.shape[-2:])
    pairs = [product(one, two) for one, two in zip(wide, other, strict=True)]
    return np.stack(pairs).reshape(*outer, left.shape[-2], right.shape[-1])


def _dynamic_matmul(inputs: Inputs, _: Attributes) -> tuple[Array]:
    """DynamicQuantizeMatMul: activations to uint8 with one scale for all of the call."""
    values, weight = inputs[:2]
    scale, zero, bias = (*inputs[2:], None, None, None)[:3]
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    step = np.float32((high - low) / 255) or np.float32(1)
    point = np.clip(np.rint(np.float32(-low) / step), 0, 255)
    codes = np.clip(np.rint(values / step) + point, 0, 255).astype(np.float32) - point
    shifted = weight.astype(np.float32) - (0 if zero is None else zero.astype(np.float32))
    sums = exact_product(codes.reshape(-1, codes.shape[-1]), shifted)
    result = sums.astype(np.float32) * (step * scale)
    result = result if bias is None else result + bias
    return (result.reshape(*values.shape[:-1], weight.shape[1]),)


def exact_product(left: Floats, right: Floats) -> NDArray[np.int64]:
    """Of whole numbers of 8 bits, less their zero points, [M, K] and [K, N]; without any error."""
    total = np.zeros((left.shape[0], right.shape[1]), np.int64)
    for start in range(0, left.shape[1], _EXACT_TERMS):
        part = slice(start, start + _EXACT_TERMS)
        total += product(left[:, part], right[part]).astype(np.int64)
    return total


def _rms_norm(inputs: Inputs, attributes: Attributes) -> tuple[Array]:
    """SimplifiedLayerNormalization."""
    values, weight = inputs[:2]
    return (_normalised(values, weight, attributes),)


def _skip_rms_norm(inputs: Inputs, attributes: Attributes) -> tuple[Array | None, ...]:
    """SkipSimplifiedLayerNormalization: the sum comes out too."""
    values, skip, weight, bias = (*inputs, None)[:4]
    total = values + skip if bias is None else values + skip + bias
    return _normalised(total, weight, attributes), None, None, total


def _skip_norm(inputs: Inputs, attributes: Attributes) -> tuple[Array | None, ...]:
    """SkipLayerNormalization."""
    values, skip, weight, shift, bias = (*inputs, None, None)[:5]
    total = values + skip if bias is None else values + skip + bias
    centred = total - total.mean(-1, keepdims=True)
    result = _normalised(centred, weight, attributes)
    return result if shift is None else result + shift, None, None, total


def _normalised(values: Array, weight: Array, attributes: Attributes) -> Array:
    square = np.square(values).mean(-1, keepdims=True)
    result: Array = values / np.sqrt(square + np.float32(attributes.get("epsilon", _EPSILON)))
    return result * weight


def _rotary(inputs: Inputs, attributes: Attributes) -> tuple[Array]:
    """RotaryEmbedding of values [1, S, H · D] or [1, H, S, D]."""
    values, positions, cosines, sines = inputs
    length = values.shape[-2]
    at = positions.reshape(-1)
    at = at + np.arange(length) if at.size == 1 else at
    heads = values[0]
    if values.ndim == 3:
        width = 2 * cosines.shape[1] if not attributes.get("num_heads") else None
        count = int(attributes.get("num_heads") or values.shape[-1] // (width or 1))
        heads = _heads(heads, count)
    turned = _turned(heads, cosines[at], sines[at], interleaved=bool(attributes.get("interleaved")))
    return (_joined(turned)[None] if values.ndim == 3 else turned[None],)


def _turned(heads: Array, cosines: Array, sines: Array, *, interleaved: bool) -> Array:
    """Heads [H, S, D], whose first 2 n values are turned by angles [S, n]."""
    half = cosines.shape[1]
    part, rest = heads[..., : 2 * half], heads[..., 2 * half :]
    halves = (
        (part[..., ::2], part[..., 1::2]) if interleaved else (part[..., :half], part[..., half:])
    )
    real, imaginary = (
        halves[0] * cosines - halves[1] * sines,
        halves[1] * cosines + halves[0] * sines,
    )
    if interleaved:
        joined = np.stack([real, imaginary], -1).reshape(part.shape)
    else:
        joined = np.concatenate([real, imaginary], -1)
    return np.concatenate([joined, rest], -1)


def _heads(values: Array, count: int) -> Array:
    """[S, H · D] as [H, S, D]."""
    return values.reshape(len(values), count, -1).transpose(1, 0, 2)


def _joined(heads: Array) -> Array:
    """[H, S, D] as [S, H · D]."""
    return heads.transpose(1, 0, 2).reshape(heads.shape[1], -1)


def _attention(inputs: Inputs, attributes: Attributes) -> tuple[Array, Array, Array]:
    """GroupQueryAttention, with its rotary embedding, window, soft cap and cache."""
    names = "query key value past_key past_value lengths total cosines sines positions bias sink"
    given: dict[str, Any] = dict.fromkeys(names.split())
    given |= dict(zip(names.split(), inputs, strict=False))
    count, shared = int(attributes["num_heads"]), int(attributes["kv_num_heads"])
    if given["key"] is None:
        packed = _heads(given["query"][0], count + 2 * shared)
        query, key, value = np.split(packed, [count, count + shared])
    else:
        query = _heads(given["query"][0], count)
        key, value = (_heads(given[name][0], shared) for name in ("key", "value"))
    before = 0 if given["past_key"] is None else given["past_key"].shape[2]
    if attributes.get("do_rotary"):
        at = before + np.arange(query.shape[1])
        at = at if given["positions"] is None else given["positions"].reshape(-1)
        angles = given["cosines"][at], given["sines"][at]
        interleaved = bool(attributes.get("rotary_interleaved"))
        query, key = (_turned(one, *angles, interleaved=interleaved) for one in (query, key))
    if before:
        key, value = (
            np.concatenate([given[f"past_{name}"][0], one], 1)
            for name, one in (("key", key), ("value", value))
        )
    seen = np.stack(
        [
            _attended(query[head], key[place], value[place], attributes, _of_head(given, head))
            for head in range(count)
            for place in [head // (count // shared)]
        ]
    )
    return _joined(seen)[None], key[None], value[None]


def _of_head(given: Mapping[str, Any], head: int) -> tuple[Array | None, float | None]:
    """A head's bias [S, T] and sink."""
    bias, sink = given["bias"], given["sink"]
    one = None if bias is None else bias[0, head % bias.shape[1]]
    return one, None if sink is None else float(sink[head])


def _attended(
    query: Floats,
    key: Floats,
    value: Floats,
    attributes: Attributes,
    extra: tuple[Array | None, float | None],
) -> Floats:
    """One head: query [S, D], key and value [T, D], of which the last S are the query's own."""
    bias, sink = extra
    scale = np.float32(attributes.get("scale") or query.shape[1] ** -0.5)
    scores = product(query, key.T) * scale
    if cap := attributes.get("softcap"):
        scores = np.tanh(scores / np.float32(cap)) * np.float32(cap)
    if bias is not None:
        scores = scores + bias
    own = len(key) - len(query) + np.arange(len(query))[:, None]
    others = np.arange(len(key))
    hidden = others > own
    window = int(attributes.get("local_window_size", -1))
    if window > 0:
        hidden |= others <= own - window
    scores[hidden] = -np.inf
    largest = scores.max(-1, keepdims=True)
    smooth = attributes.get("smooth_softmax") == 1
    rest = 0.0 if smooth and sink is None else sink
    largest = largest if rest is None else np.maximum(largest, np.float32(rest))
    weights = np.exp(scores - largest)
    total = weights.sum(-1, keepdims=True)
    total = total if rest is None else total + np.exp(np.float32(rest) - largest)
    return product(weights / total, value)


def _sigmoid(inputs: Inputs, _: Attributes) -> tuple[Array]:
    values = inputs[0]
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-values)),)


def _quick_gelu(inputs: Inputs, attributes: Attributes) -> tuple[Array]:
    values = inputs[0]
    scaled = values * np.float32(attributes.get("alpha", 1.702))
    return (values * _sigmoid([scaled], {})[0],)


def _fast_gelu(inputs: Inputs, _: Attributes) -> tuple[Array]:
    values, bias = (*inputs, None)[:2]
    total = values if bias is None else values + bias
    inner = np.float32(np.sqrt(2 / np.pi)) * (total + np.float32(0.044715) * total**3)
    return (total * (1 + np.tanh(inner)) / 2,)


def _gelu(inputs: Inputs, attributes: Attributes) -> tuple[Array]:
    if attributes.get("approximate") == "tanh":
        return _fast_gelu(inputs, {})
    values = inputs[0]
    return (values * (1 + _erf([values * np.float32(0.5**0.5)], {})[0]) / 2,)


def _erf(inputs: Inputs, _: Attributes) -> tuple[Array]:
    import torch

    return (torch.from_numpy(np.ascontiguousarray(inputs[0])).erf().numpy(),)


def _gather(inputs: Inputs, attributes: Attributes) -> tuple[Array]:
    """Without the copy of the whole table that `numpy.take` makes of a transposed one."""
    table, indices = inputs[:2]
    axis = int(attributes.get("axis", 0)) % table.ndim
    return (table[(*[slice(None)] * axis, indices)],)


KERNELS: dict[str, Kernel] = {
    "DynamicQuantizeMatMul": _dynamic_matmul,
    "Erf": _erf,
    "FastGelu": _fast_gelu,
    "Gather": _gather,
    "Gelu": _gelu,
    "GroupQueryAttention": _attention,
    "MatMul": _matmul,
    "QuickGelu": _quick_gelu,
    "RotaryEmbedding": _rotary,
    "Sigmoid": _sigmoid,
    "SimplifiedLayerNormalization": _rms_norm,
    "SkipLayerNormalization": _skip_norm,
    "SkipSimplifiedLayerNormalization": _skip_rms_norm,
}
