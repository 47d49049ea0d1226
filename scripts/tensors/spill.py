"""Tensors that wait in a file until all are known, then become one safetensors file.

A header holds the size of every tensor, and that of a quantisation state depends on its values. So
tensors go into a file without a name as they are made, and from there, mapped, into place: the
process itself never holds more than those at work. The bytes are those of safetensors'
`save_file`: header, then data, ordered by type and name.
"""

import mmap
import os
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

import torch

from scripts.hashed_file import HashedFile
from scripts.tensors.dtypes import NAMES, RANKS
from scripts.tensors.header import Layout, header_bytes


class Spill:
    """A file beside `folder`'s others, gone once it is closed; several threads may add to it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tensors: dict[str, Layout] = {}
        self._starts: dict[str, int] = {}
        self._end = 0
        self._adding = threading.Lock()

    def __enter__(self) -> "Spill":
        self._file = tempfile.TemporaryFile(dir=self._folder)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Write tensors, by their names, behind those that are there."""
        for name, tensor in tensors.items():
            size = tensor.numel() * tensor.element_size()
            data = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data
            with self._adding:
                start, self._end = self._end, self._end + size
                self._starts[name] = start
                self._tensors[name] = Layout(NAMES[tensor.dtype], tuple(tensor.shape), size)
            while data:
                written = os.pwrite(self._file.fileno(), data, start)
                data, start = data[written:], start + written

    def sizes(self) -> dict[str, int]:
        """The bytes of each tensor."""
        return {name: one.size for name, one in self._tensors.items()}

    def save(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write all tensors into a safetensors file."""
        ordered = dict(
            sorted(self._tensors.items(), key=lambda item: (RANKS[item[1].dtype], item[0]))
        )
        with HashedFile(path) as out:
            out.write(header_bytes(ordered, metadata))
            if not self._end:
                return
            with (
                mmap.mmap(self._file.fileno(), self._end, access=mmap.ACCESS_READ) as mapped,
                memoryview(mapped) as data,
            ):
                for name, one in ordered.items():
                    start = self._starts[name]
                    with data[start : start + one.size] as part:
                        out.write(part)
