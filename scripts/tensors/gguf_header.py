"""The tensors that a GGUF file lists, from its header alone.

gguf's own reader makes an array of every token and merge of the tokenizer, which takes a second.
Format: docs/gguf.md of the ggml project.
"""

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from struct import Struct, error

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType

from scripts.errors import QuantmakeError

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MOST_DIMENSIONS = 4  # GGML_MAX_DIMS of ggml.h
_PRESETS_TAKE = 1.1  # times the bits of the type that they are named after
_U32, _U64 = Struct("<I"), Struct("<Q")
_KIND = GGUFValueType
_SIZES = {
    **dict.fromkeys((_KIND.UINT8, _KIND.INT8, _KIND.BOOL), 1),
    **dict.fromkeys((_KIND.UINT16, _KIND.INT16), 2),
    **dict.fromkeys((_KIND.UINT32, _KIND.INT32, _KIND.FLOAT32), 4),
    **dict.fromkeys((_KIND.UINT64, _KIND.INT64, _KIND.FLOAT64), 8),
}


@dataclass(frozen=True)
class Listed:
    """A tensor: its shape, [rows, columns], and the name of its type, such as `Q4_0`."""

    shape: tuple[int, ...]
    type: str

    @property
    def values(self) -> int:
        """How many it has."""
        return prod(self.shape)

    @property
    def size(self) -> int:
        """Its bytes."""
        block, size = GGML_QUANT_SIZES[GGMLQuantizationType[self.type]]
        return self.values // block * size


class _Header:
    def __init__(self, data: mmap.mmap) -> None:
        self._data, self._at = data, len(_MAGIC)

    def number(self, kind: Struct) -> int:
        (value,) = kind.unpack_from(self._data, self._at)
        self._at += kind.size
        return int(value)

    def text(self) -> str:
        length = self.number(_U64)
        self._at += length
        return self._data[self._at - length : self._at].decode(errors="surrogateescape")

    def skip(self, kind: int) -> None:
        """Pass by a value."""
        if kind == _KIND.STRING:
            self.text()
        elif kind == _KIND.ARRAY:
            inner, count = self.number(_U32), self.number(_U64)
            if inner in _SIZES:
                self._at += count * _SIZES[_KIND(inner)]
            else:
                self._times(count, lambda: self.skip(inner))
        else:
            self._at += _SIZES[_KIND(kind)]

    def tensors(self) -> dict[str, Listed]:
        version = self.number(_U32)
        if version not in _VERSIONS:
            raise ValueError(f"version {version}")
        count, fields = self.number(_U64), self.number(_U64)
        for _ in range(fields):
            self.text()
            self.skip(self.number(_U32))
        return dict(self._tensor() for _ in range(count))

    def _tensor(self) -> tuple[str, Listed]:
        name = self.text()
        dimensions = self.number(_U32)
        if dimensions > _MOST_DIMENSIONS:
            raise ValueError(f"a tensor of {dimensions} dimensions")
        shape = tuple(self.number(_U64) for _ in range(dimensions))
        kind = GGMLQuantizationType(self.number(_U32))
        self.number(_U64)
        return name, Listed(shape[::-1], kind.name)

    def _times(self, count: int, step: Callable[[], None]) -> None:
        if count > len(self._data):
            raise ValueError(f"an array of {count}")
        for _ in range(count):
            step()


def bits_per_weight(preset: str) -> float:
    """Of the layers of a file of this type, such as `q4_0`: exact where all its tensors have it.

    Presets such as `q4_k_m` give some tensors a type of more bits.
    """
    kinds = _kinds_of(preset)
    exact = preset.upper() in GGMLQuantizationType.__members__
    return (1 if exact else _PRESETS_TAKE) * max(map(_bits, kinds))


def block_of(preset: str) -> int:
    """The values of a block of the type that a preset is named after."""
    return max(GGML_QUANT_SIZES[kind][0] for kind in _kinds_of(preset))


def _kinds_of(preset: str) -> list[GGMLQuantizationType]:
    name, kinds = preset.upper(), list(GGMLQuantizationType)
    if name in GGMLQuantizationType.__members__:
        return [GGMLQuantizationType[name]]
    named_after = [kind for kind in kinds if name.startswith(f"{kind.name}_")]
    return named_after or [kind for kind in kinds if kind.name.split("_")[0] == name.split("_")[0]]


def _bits(kind: GGMLQuantizationType) -> float:
    values, size = GGML_QUANT_SIZES[kind]
    return 8 * size / values


def tensors_of(path: Path) -> dict[str, Listed]:
    """By name, in the order of the file. Raises QuantmakeError where it is no GGUF file, or ends
    before its tensors do."""
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            if data[: len(_MAGIC)] != _MAGIC:
                raise ValueError("it does not begin with GGUF")
            tensors = _Header(data).tensors()
            size = len(data)
    except (ValueError, KeyError, OverflowError, RecursionError, error) as reason:
        raise QuantmakeError(f"{path.name} is no GGUF file: {reason}") from None
    needed = sum(tensor.size for tensor in tensors.values())
    if size < needed:
        raise QuantmakeError(
            f"{path.name} is cut short: it has {size:,} bytes, and its tensors take {needed:,}"
        )
    return tensors
