"""What one layer adds to the capture: kept while the capture runs, so that it can go on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.calibration.stored import MIXED
from scripts.tensors.appended import Appended

_SHARED = "shared"


@dataclass(frozen=True)
class Part:
    """Hessians [K, K] and statistics [K] by name, and whose input each linear reads."""

    hessians: Mapping[str, NDArray[np.float32]]
    statistics: Mapping[str, NDArray[np.float32]]
    shared: Mapping[str, str]

    def to_tensors(self) -> dict[str, torch.Tensor]:
        """For a checkpoint."""
        text = json.dumps(dict(self.shared)).encode()
        tensors = {_SHARED: torch.from_numpy(np.frombuffer(text, np.uint8).copy())}
        tensors |= {f"hessian/{name}": torch.from_numpy(one) for name, one in self.hessians.items()}
        tensors |= {
            f"statistic/{n}": torch.from_numpy(one.copy()) for n, one in self.statistics.items()
        }
        return tensors

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor]) -> "Part":
        """What a checkpoint holds; names are in the order of the computation again."""
        shared: dict[str, str] = json.loads(tensors[_SHARED].numpy().tobytes())
        firsts = dict.fromkeys(shared.values())
        mixed = [name + MIXED for name in shared if f"hessian/{name}{MIXED}" in tensors]
        return cls(
            {name: tensors[f"hessian/{name}"].numpy() for name in (*firsts, *mixed)},
            {
                name.removeprefix("statistic/"): one.numpy()
                for name, one in tensors.items()
                if name.startswith("statistic/")
            },
            shared,
        )

    def add_to(
        self, writer: Appended, statistics: dict[str, NDArray[np.float32]], shared: dict[str, str]
    ) -> None:
        """Write the Hessians; put the rest in its place."""
        for name, hessian in self.hessians.items():
            writer.add(name, hessian)
        statistics.update(self.statistics)
        shared.update(self.shared)
