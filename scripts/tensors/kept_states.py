"""Hidden states that wait in a file, so that memory holds those at work alone."""

import os
import tempfile
import threading
from pathlib import Path

import torch

Place = tuple[int, int]


class KeptStates:
    """Float32 tensors by their places, such as (layer, window), in a file in `folder` that has no
    name and is gone once it is closed. Threads may read and write."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._starts: dict[Place, tuple[int, torch.Size]] = {}
        self._end = 0
        self._adding = threading.Lock()

    def __enter__(self) -> "KeptStates":
        self._file = tempfile.TemporaryFile(dir=self._folder)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __setitem__(self, place: Place, states: torch.Tensor) -> None:
        """Write; what was at the place before is replaced."""
        data = states.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
        with self._adding:
            start, shape = self._starts.get(place, (self._end, states.shape))
            if shape != states.shape or place not in self._starts:
                start, self._end = self._end, self._end + len(data)
            self._starts[place] = start, states.shape
        while data:
            written = os.pwrite(self._file.fileno(), data, start)
            data, start = data[written:], start + written

    def __getitem__(self, place: Place) -> torch.Tensor:
        """Read what was written last at the place."""
        start, shape = self._starts[place]
        states = torch.empty(shape)
        data = states.reshape(-1).view(torch.uint8).numpy().data
        while data:
            read = os.preadv(self._file.fileno(), [data], start)
            data, start = data[read:], start + read
        return states
