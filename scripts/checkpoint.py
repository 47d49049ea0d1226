"""What a long stage keeps while it runs, so that after a kill it goes on where it was.

The folder's name holds the action key, so nothing in it can belong to other inputs or options.
A stage that is run by hand has none, and keeps nothing.
"""

import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from scripts.errors import QuantmakeError

if TYPE_CHECKING:
    import torch

FOLDER_VARIABLE = "QUANTMAKE_CHECKPOINTS"
_TIMES_AS_LONG = 20  # between two as writing one took, so that big ones come less often


class Checkpoints:
    """Tensors by the name of a step, one safetensors file each; the next one replaces it whole."""

    def __init__(self, folder: Path | None, seconds_between: float = 20) -> None:
        self._folder, self._between = folder, seconds_between
        self._began = self._last = time.monotonic()
        self._took = 0.0

    @classmethod
    def of_this_run(cls) -> "Checkpoints":
        """Those in the folder that the build engine keeps for this action, if it runs the stage."""
        named = os.environ.get(FOLDER_VARIABLE)
        return cls(Path(named) if named else None)

    @property
    def are_kept(self) -> bool:
        """Whether there is a folder for them."""
        return self._folder is not None

    def is_due(self) -> bool:
        """Whether so much work was done since the last one that it is worth the writing."""
        between = self._between and max(self._between, _TIMES_AS_LONG * self._took)
        return self._folder is not None and time.monotonic() - self._last >= between

    def result(
        self, name: str, make: Callable[[], Mapping[str, "torch.Tensor"]]
    ) -> Mapping[str, "torch.Tensor"]:
        """What `make` gives; after a kill the next run takes it from here. Threads may call it.

        Of a stage that is done within seconds nothing is written.
        """
        tensors: Mapping[str, torch.Tensor] | None = self.load(name)
        if tensors is None:
            tensors = make()
            if time.monotonic() - self._began >= self._between:
                self.save(name, tensors)
        return tensors

    def load(self, name: str) -> dict[str, "torch.Tensor"] | None:
        """What was saved last under `name`; None where nothing was, or it can't be read."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        if self._folder is None:
            return None
        try:
            return load(self._path(name).read_bytes())
        except (FileNotFoundError, SafetensorError):
            return None

    def load_finished(self, name: str) -> dict[str, "torch.Tensor"]:
        """What was saved under `name`, which others build on.

        Raises QuantmakeError where it is gone or can't be read; then all are removed, so that the
        next run starts anew.
        """
        tensors = self.load(name)
        if tensors is None:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
            raise QuantmakeError(
                f"what this stage kept of its unfinished work is damaged ({name} can't be read). "
                "It was removed: run doit again, and the stage starts anew."
            )
        return tensors

    def save(self, name: str, tensors: Mapping[str, "torch.Tensor"]) -> None:
        """Replace what is saved under `name`; a kill leaves the old one or the new one."""
        from safetensors.torch import save_file

        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        began, path = time.monotonic(), self._path(name)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, fresh)
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        fresh.rename(path)
        self._last = time.monotonic()
        self._took = self._last - began

    def _path(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / quote(name, safe="")
