"""Tensors that wait in a file until all are known, then become one safetensors file.

A header holds the size of every tensor, and that of a quantisation state depends on its values. So
tensors go into a file without a name as they are made, and from there, mapped, into place: the
process itself never holds more than those at work. The bytes are those of safetensors'
`save_file`: header, then data, ordered by type and name. Format: huggingface.co/docs/safetensors.
"""

import json
import mmap
import os
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import torch

from scripts.hashed_file import HashedFile

# From the widest to the narrowest, as safetensors orders its types (Dtype in tensor.rs).
_TYPES: dict[torch.dtype, str] = {
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_RANK = {kind: rank for rank, kind in enumerate(_TYPES.values())}


@dataclass(frozen=True)
class Waiting:
    """Where one tensor lies in the file."""

    kind: str
    shape: tuple[int, ...]
    start: int
    size: int  # bytes


class Spill:
    """A file beside `folder`'s others, gone once it is closed; several threads may add to it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tensors: dict[str, Waiting] = {}
        self._end = 0
        self._adding = threading.Lock()

    def __enter__(self) -> "Spill":
        self._file = tempfile.TemporaryFile(dir=self._folder)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Write tensors, by their names, behind those that are there."""
        for name, tensor in tensors.items():
            size = tensor.numel() * tensor.element_size()
            data = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data
            with self._adding:
                start, self._end = self._end, self._end + size
                self._tensors[name] = Waiting(
                    _TYPES[tensor.dtype], tuple(tensor.shape), start, size
                )
            while data:
                written = os.pwrite(self._file.fileno(), data, start)
                data, start = data[written:], start + written

    def sizes(self) -> dict[str, int]:
        """The bytes of each tensor."""
        return {name: one.size for name, one in self._tensors.items()}

    def save(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write all tensors into a safetensors file."""
        ordered = sorted(self._tensors.items(), key=lambda item: (_RANK[item[1].kind], item[0]))
        entries: dict[str, object] = {"__metadata__": dict(metadata)}
        end = 0
        for name, one in ordered:
            span = [end, end + one.size]
            entries[name] = {"dtype": one.kind, "shape": list(one.shape), "data_offsets": span}
            end += one.size
        header = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
        header += b" " * (-len(header) % 8)
        with HashedFile(path) as out:
            out.write(len(header).to_bytes(8, "little") + header)
            if not self._end:
                return
            with (
                mmap.mmap(self._file.fileno(), self._end, access=mmap.ACCESS_READ) as mapped,
                memoryview(mapped) as data,
            ):
                for _, one in ordered:
                    with data[one.start : one.start + one.size] as part:
                        out.write(part)
