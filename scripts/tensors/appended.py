"""A safetensors file whose tensors are written one after the other, before all are known."""

import json
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scripts.tensors.header import LENGTH_BYTES


class Appended:
    """A file of float32 tensors, which safetensors' own writer wants all at once.

    The header is written last, into the `header_bytes` left for it, since safetensors allows
    spaces after it. On an error the file is removed.
    """

    def __init__(self, path: Path, header_bytes: int) -> None:
        self._path = path
        self._reserved = -(-header_bytes // 8) * 8
        self._entries: dict[str, object] = {}
        self._end = 0

    def __enter__(self) -> "Appended":
        self._file = self._path.open("wb")
        self._file.seek(LENGTH_BYTES + self._reserved)
        return self

    def add(self, name: str, value: NDArray[np.float32]) -> None:
        """Append one tensor."""
        data = np.ascontiguousarray(value, "<f4")
        span = [self._end, self._end + data.nbytes]
        self._entries[name] = {"dtype": "F32", "shape": list(data.shape), "data_offsets": span}
        self._file.write(data.data)
        self._end = span[1]

    @property
    def names(self) -> Collection[str]:
        """The tensors that are there."""
        return self._entries.keys()

    def finish(self, metadata: dict[str, str]) -> None:
        """Write the header; `metadata` is for readers."""
        header = json.dumps({"__metadata__": metadata, **self._entries}).encode()
        if len(header) > self._reserved:
            raise ValueError(
                f"the header takes {len(header)} bytes, but {self._reserved} were left for it"
            )
        self._file.seek(0)
        self._file.write(self._reserved.to_bytes(LENGTH_BYTES, "little"))
        self._file.write(header.ljust(self._reserved))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        if kind is not None:
            self._path.unlink()
