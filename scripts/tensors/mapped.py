"""Tensors of a safetensors file as views of the file, mapped into memory.

safetensors' own reader copies each tensor into memory of the process. Format:
huggingface.co/docs/safetensors: eight bytes with the header's length, the header, the data.
"""

import json
import mmap
from collections.abc import Collection
from math import prod
from pathlib import Path

import torch

_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}


def mapped_tensors(path: Path, names: Collection[str] | None = None) -> dict[str, torch.Tensor]:
    """Every tensor, or those of `names`, by its name; pages come from the disk when they are read,
    and may go again.

    Raises ValueError for a type that is no float.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    found = {}
    for name, entry in header.items():
        if name == "__metadata__" or (names is not None and name not in names):
            continue
        if entry["dtype"] not in _TYPES:
            raise ValueError(f"{path.name}: {name} is {entry['dtype']}, which is no float")
        shape, start = entry["shape"], 8 + length + entry["data_offsets"][0]
        flat = torch.frombuffer(data, dtype=_TYPES[entry["dtype"]], count=prod(shape), offset=start)
        found[name] = flat.view(shape)
    return found
