"""llama.cpp's importance matrix from the capture, by a GGUF file's own names of its tensors."""

from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader

from scripts.backends.gguf.names import EMBEDDING, OUTPUT, Matrix, Names
from scripts.calibration.stored import Captured
from scripts.errors import QuantmakeError

Means = dict[str, np.ndarray[Any, np.dtype[np.float32]]]


def mean_squares(f16: Path, capture: Path) -> Means:
    """llama.cpp's importance matrix: the mean squared input of each column [columns], by tensor; of
    stacked experts [experts · columns].

    A tied embedding is read as the head, so it has the head's. An expert that saw no token has the
    mean of the others.
    Raises QuantmakeError where the capture knows none of the file's tensors.
    """
    names, captured = Names(GGUFReader(f16)), Captured(capture)
    means: Means = {}
    experts: dict[str, dict[int, np.ndarray[Any, Any]]] = {}
    for module in captured.names:
        for matrix in names.parts(module):
            square = np.ascontiguousarray(captured.mean_square(module), np.float32)
            if matrix.expert is not None:
                experts.setdefault(matrix.tensor, {})[matrix.expert] = square
            else:
                tied = matrix == Matrix(OUTPUT) and OUTPUT not in names.shapes
                means[EMBEDDING if tied else matrix.tensor] = square
    for name, seen in experts.items():
        usual = np.mean(list(seen.values()), 0, dtype=np.float32)
        count = names.shapes[name][0]
        means[name] = np.concatenate([seen.get(expert, usual) for expert in range(count)])
    if not means:
        raise QuantmakeError(
            f"no importance matrix for llama.cpp: the calibration's capture fits no tensor of {f16}"
            "; build it again (doit capture), or leave out `imatrix`"
        )
    return means
