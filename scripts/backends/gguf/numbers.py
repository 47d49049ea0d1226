"""The FP16 numbers in the blocks of a GGUF tensor, and what they are multiplied by.

A value is a sum of levels times FP16 numbers: `d`, and `dmin` or `m` where the type has one
(ggml-common.h). Levels are integer codes, times the small integers of a k-quant's groups.
"""

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize
from numpy.typing import NDArray

from scripts.tuning.block_linear import Part, as_half

Blocks = NDArray[np.uint8]

_NUMBERS_AT = {  # in a block, as bytes
    **dict.fromkeys(("Q4_0", "Q5_0", "Q8_0", "IQ4_NL", "IQ4_XS"), (0,)),
    **dict.fromkeys(("Q4_1", "Q5_1", "Q4_K", "Q5_K"), (0, 2)),
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "Q6_K": (208,),
}
_GROUP = 16  # columns that share an offset, in every type
_BYTES = 2  # of a number


def has_numbers(kind: GGMLQuantizationType) -> bool:
    """Whether the type's numbers are known."""
    return kind.name in _NUMBERS_AT


def parts_of(data: Blocks, kind: GGMLQuantizationType) -> list[Part]:
    """A tensor's bytes [N, bytes of a row] as levels and scales."""
    columns, size = GGML_QUANT_SIZES[kind]
    blocks = data.reshape(len(data), -1, size)
    places = _NUMBERS_AT[kind.name]
    group = columns if len(places) == 1 else _GROUP
    parts = []
    for place in places:
        alone = blocks.copy()
        for other in places:
            _numbers(alone, other)[...] = other == place
        values = dequantize(alone.reshape(data.shape), kind)
        levels = values.reshape(*blocks.shape[:2], -1, group).astype(np.int16)
        kept = levels[..., :1] if place != places[0] else levels  # an offset's are alike
        scales = _numbers(blocks, place).astype(np.float32)
        parts.append(Part(torch.from_numpy(kept.copy()), torch.from_numpy(scales), as_half))
    return parts


def put_numbers(data: Blocks, kind: GGMLQuantizationType, scales: list[torch.Tensor]) -> None:
    """Write the scales of the parts into the tensor's bytes."""
    blocks = data.reshape(len(data), -1, GGML_QUANT_SIZES[kind][1])
    for place, numbers in zip(_NUMBERS_AT[kind.name], scales, strict=True):
        _numbers(blocks, place)[...] = numbers.numpy()
    data[...] = blocks.reshape(data.shape)


def _numbers(blocks: Blocks, place: int) -> NDArray[np.float16]:
    """The number at a place of each block [N, K / block], as a view."""
    number: NDArray[np.float16] = blocks[..., place : place + _BYTES].view(np.float16)[..., 0]
    return number
