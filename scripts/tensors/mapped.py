"""Tensors as views of their safetensors files, mapped into memory.

safetensors' own reader copies each tensor into memory of the process.
"""

import mmap
from collections.abc import Mapping
from pathlib import Path

import torch

from scripts.tensors.dtypes import TORCH_TYPES
from scripts.tensors.header import Stored


def mapped(tensors: Mapping[str, Stored]) -> dict[str, torch.Tensor]:
    """Each tensor by its name: the system reads it from the disk when it is used, and may drop it
    from memory afterwards. Writing to it changes no file.

    Raises ValueError for a type that torch does not have.
    """
    strange = [name for name, one in tensors.items() if one.dtype not in TORCH_TYPES]
    if strange:
        kinds = ", ".join(f"{name} is {tensors[name].dtype}" for name in strange)
        raise ValueError(f"these tensors have types that can't be mapped: {kinds}")
    # One mapping for a file: each holds a file descriptor.
    files = {file: _map(file) for file in {one.file for one in tensors.values()}}
    return {
        name: torch.frombuffer(
            files[one.file], dtype=TORCH_TYPES[one.dtype], count=one.values, offset=one.start
        ).view(one.shape)
        for name, one in tensors.items()
    }


def _map(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
