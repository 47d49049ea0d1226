"""Reading and writing what the calibration's stages store."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from scripts.errors import QuantmakeError

STATISTICS = "statistics.safetensors"
HESSIAN = "hessian.safetensors"
GRADIENTS = "gradients.safetensors"
MIXED = ".mixed"
"""What follows a value projection's name where its Hessian is of inputs as attention mixes them."""
_SQUARE = ".gradient_square"


class Captured:
    """The folder that the capture wrote. Tensors are read as they are asked for."""

    def __init__(self, folder: Path) -> None:
        self._statistics = safe_open(folder / STATISTICS, "np")
        self._hessian = safe_open(folder / HESSIAN, "np")
        metadata = self._hessian.metadata()
        self._shared: dict[str, str] = json.loads(metadata["shared"])
        self._mixed: dict[str, int] = json.loads(metadata.get("mixed", "{}"))

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
        """Smallest and largest input, each [columns]."""
        return self._statistic(name, "minimum"), self._statistic(name, "maximum")

    def source_of(self, name: str) -> str:
        """The same for linears that have one Hessian, which `hessian` takes as well as a name."""
        plain = name.removesuffix(MIXED)
        return plain + MIXED if plain in self._mixed else self.input_of(plain)

    def mixed_rows(self, name: str) -> int:
        """Outputs of a value projection that has a Hessian of its own; 0 of any other linear."""
        return self._mixed.get(name, 0)

    def hessian(self, name: str) -> NDArray[np.float32]:
        """H [columns, columns] of a linear's inputs X: XᵀX / n, its tokens weighed as
        `token_weights.py` says; where attention mixes what it gives, that of inputs as attention
        mixes them. Its trace is that of XᵀX / n."""
        hessian: NDArray[np.float32] = self._hessian.get_tensor(self.source_of(name))
        return hessian

    def _statistic(self, name: str, kind: str) -> NDArray[np.float32]:
        self.input_of(name)
        statistic: NDArray[np.float32] = self._statistics.get_tensor(f"{name}.{kind}")
        return statistic


def write_gradient_squares(folder: Path, squares: Mapping[str, NDArray[np.float32]]) -> None:
    """Store [outputs] of each linear, the head and the embedding, by their Hugging Face names."""
    save_file({name + _SQUARE: square for name, square in squares.items()}, folder / GRADIENTS)


def gradient_squares(folder: Path) -> dict[str, NDArray[np.float32]]:
    """What `write_gradient_squares` stored."""
    with safe_open(folder / GRADIENTS, "np") as file:
        return {key.removesuffix(_SQUARE): file.get_tensor(key) for key in list(file.keys())}
