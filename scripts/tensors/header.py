"""What a safetensors file says of its tensors before their data.

Format: huggingface.co/docs/safetensors: eight bytes with the header's length, the header as JSON,
the data without gaps.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from safetensors import SafetensorError, safe_open

from scripts.errors import QuantmakeError

LENGTH_BYTES = 8
_METADATA = "__metadata__"


@dataclass(frozen=True)
class Layout:
    """One tensor: its type as the format spells it, such as `F16`, its shape and its bytes."""

    dtype: str
    shape: tuple[int, ...]
    size: int

    @property
    def values(self) -> int:
        """How many it has."""
        return prod(self.shape)


@dataclass(frozen=True)
class Stored(Layout):
    """One tensor in a file, where its data begins at the byte `start`."""

    file: Path
    start: int


def read_header(file: Path) -> dict[str, Stored]:
    """The tensors of a file by name, in the order of its header.

    Raises QuantmakeError where it is damaged or cut short.
    """
    try:
        with safe_open(file, "np"):  # which looks at the header and at the file's length
            pass
    except SafetensorError as error:
        raise QuantmakeError(
            f"{file.name} is damaged or cut short ({file.stat().st_size:,} bytes: {error})"
        ) from error
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(LENGTH_BYTES), "little")
        entries = json.loads(stream.read(length))
    entries.pop(_METADATA, None)
    tensors = {}
    for name, entry in entries.items():
        first, last = entry["data_offsets"]
        start = LENGTH_BYTES + length + first
        tensors[name] = Stored(entry["dtype"], tuple(entry["shape"]), last - first, file, start)
    return tensors


def tensors_in(folder: Path) -> dict[str, Stored]:
    """The tensors of all safetensors files of a folder by name; as `read_header`."""
    files = sorted(folder.glob("*.safetensors"))
    return {name: tensor for file in files for name, tensor in read_header(file).items()}


def header_bytes(tensors: Mapping[str, Layout], metadata: Mapping[str, str]) -> bytes:
    """What stands before the data of `tensors`, which follow in this order.

    The bytes are those of the library where the order is the library's: by type, then by name.
    """
    entries: dict[str, object] = {_METADATA: dict(metadata)}
    end = 0
    for name, one in tensors.items():
        span = [end, end + one.size]
        entries[name] = {"dtype": one.dtype, "shape": list(one.shape), "data_offsets": span}
        end += one.size
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text
