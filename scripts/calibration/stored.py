"""Reading and writing what the capture stores."""

import json
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from scripts.errors import QuantmakeError

STATISTICS = "statistics.safetensors"
HESSIAN = "hessian.safetensors"
_LENGTH_BYTES = 8


class Writer:
    """A safetensors file of float32 tensors, written one after the other.

    safetensors' own writer wants all tensors at once. The header is written last, into the room
    left for it, since safetensors allows spaces after it. On an error the file is removed.
    """

    def __init__(self, path: Path, header_bytes: int) -> None:
        self._path = path
        self._room = -(-header_bytes // 8) * 8
        self._entries: dict[str, object] = {}
        self._end = 0

    def __enter__(self) -> "Writer":
        self._file = self._path.open("wb")
        self._file.seek(_LENGTH_BYTES + self._room)
        return self

    def add(self, name: str, value: NDArray[np.float32]) -> None:
        """Append one tensor."""
        data = np.ascontiguousarray(value, "<f4")
        span = [self._end, self._end + data.nbytes]
        self._entries[name] = {"dtype": "F32", "shape": list(data.shape), "data_offsets": span}
        self._file.write(data.data)
        self._end = span[1]

    def finish(self, metadata: dict[str, str]) -> None:
        """Write the header; `metadata` is for readers."""
        header = json.dumps({"__metadata__": metadata, **self._entries}).encode()
        if len(header) > self._room:
            raise ValueError(f"the header takes {len(header)} bytes, but {self._room} were left")
        self._file.seek(0)
        self._file.write(self._room.to_bytes(_LENGTH_BYTES, "little"))
        self._file.write(header.ljust(self._room))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        if kind is not None:
            self._path.unlink()


class Captured:
    """The folder that the capture wrote. Tensors are read as they are asked for."""

    def __init__(self, folder: Path) -> None:
        self._statistics = safe_open(folder / STATISTICS, "np")
        self._hessian = safe_open(folder / HESSIAN, "np")
        self._shared: dict[str, str] = json.loads(self._hessian.metadata()["shared"])

    @property
    def names(self) -> list[str]:
        """The linears, by their Hugging Face names, in the order of the computation."""
        return list(self._shared)

    def input_of(self, name: str) -> str:
        """The first linear that reads the same input as `name`."""
        if name not in self._shared:
            raise QuantmakeError(
                f"the capture has seen no linear {name}; it was made from another model. Build "
                "it again (doit capture)."
            )
        return self._shared[name]

    def mean_square(self, name: str) -> NDArray[np.float32]:
        """Mean squared input [columns]."""
        return self._statistic(name, "mean_square")

    def range(self, name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Least and greatest input, each [columns]."""
        return self._statistic(name, "minimum"), self._statistic(name, "maximum")

    def hessian(self, name: str) -> NDArray[np.float32]:
        """XᵀX / n of the inputs, [columns, columns]."""
        found: NDArray[np.float32] = self._hessian.get_tensor(self.input_of(name))
        return found

    def _statistic(self, name: str, kind: str) -> NDArray[np.float32]:
        self.input_of(name)
        found: NDArray[np.float32] = self._statistics.get_tensor(f"{name}.{kind}")
        return found
