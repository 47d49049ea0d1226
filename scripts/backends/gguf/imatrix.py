"""llama.cpp's importance matrix from the capture, by a GGUF file's own names of its tensors."""

from pathlib import Path
from typing import Any

import numpy as np
from gguf import MODEL_ARCH_NAMES, GGUFReader, get_tensor_name_map

from scripts.calibration.stored import Captured
from scripts.errors import QuantmakeError

Means = dict[str, np.ndarray[Any, np.dtype[np.float32]]]
EMBEDDING, OUTPUT = "token_embd.weight", "output.weight"


def names_in(reader: GGUFReader) -> Any:
    """gguf's map from a Hugging Face model's names to those in this file."""
    architecture = reader.fields["general.architecture"].contents()
    kind = {name: key for key, name in MODEL_ARCH_NAMES.items()}[architecture]
    return get_tensor_name_map(kind, reader.fields[f"{architecture}.block_count"].contents())


def mean_squares(f16: Path, capture: Path) -> Means:
    """llama.cpp's importance matrix: the mean squared input of each column [columns], by tensor.

    A tied embedding is read as the head, so it has the head's.
    Raises QuantmakeError where the capture knows none of the file's tensors.
    """
    reader = GGUFReader(f16)
    widths = {tensor.name: int(tensor.shape[0]) for tensor in reader.tensors}
    names, captured = names_in(reader), Captured(capture)
    means: Means = {}
    for module in captured.names:
        name = f"{names.get_name(module)}.weight"
        if name == OUTPUT and name not in widths:
            name = EMBEDDING
        if name in widths:
            means[name] = np.ascontiguousarray(captured.mean_square(module), np.float32)
    if not means:
        raise QuantmakeError(
            f"no importance matrix for llama.cpp: the calibration's capture fits no tensor of {f16}"
            "; build it again (doit capture), or leave out `imatrix`"
        )
    return means
