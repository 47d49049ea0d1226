"""Integer weights per column, or with one scale, rounded to nearest."""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scripts.backends.onnx.graph import Linear

WeightType = Literal["uint8", "int8"]
"""Of uint8 activations and int8 weights onnxruntime's kernels for x86 processors without VNNI add
pairs of products in 16 bits, which saturate; those for uint8 weights are exact on all, and do not
use VNNI where it is there."""
ZERO_POINTS: dict[WeightType, int] = {"uint8": 128, "int8": 0}
IntegerWeight = tuple[NDArray[np.uint8] | NDArray[np.int8], NDArray[np.float32]]
"""Integer codes [K, N], symmetric around their type's zero point, with scales [N], or one scale
[]."""
WeightOf = Callable[[Linear], IntegerWeight]
MAX_CODE = 127


def nearest(
    weight: NDArray[np.float32], *, per_channel: bool, kind: WeightType = "uint8"
) -> IntegerWeight:
    """Of a weight [K, N]."""
    scale = scales_of(weight, per_channel=per_channel)
    codes = np.clip(np.rint(weight / scale), -MAX_CODE, MAX_CODE)
    return (codes + ZERO_POINTS[kind]).astype(kind), scale


def nearest_of(linear: Linear, *, per_channel: bool, kind: WeightType = "uint8") -> IntegerWeight:
    """Of a MatMul's weight."""
    return nearest(linear.weight(), per_channel=per_channel, kind=kind)


def scales_of(weight: NDArray[np.float32], *, per_channel: bool) -> NDArray[np.float32]:
    """Of a weight [K, N]: the largest of its values has the largest code."""
    magnitude = np.abs(weight).max(axis=0 if per_channel else None)
    return np.where(magnitude == 0, 1, magnitude).astype(np.float32) / np.float32(MAX_CODE)
