"""The sizes of a model, from the headers of its files alone: what forecasts are made of."""

from pathlib import Path

from scripts.errors import QuantmakeError
from scripts.forecast import Outline

IN_NO_KEY = "it says what a stage will need, and makes no bytes"


def outline_of(folder: Path) -> Outline | None:
    """Of a folder with safetensors or one GGUF file; None where there is none that can be read."""
    # Here: a graph is drawn without them.
    from scripts.tensors.gguf_header import tensors_of
    from scripts.tensors.header import tensors_in

    try:
        shapes = {name: tensor.shape for name, tensor in tensors_in(folder).items()}
        ggufs = list(folder.glob("*.gguf"))
        if not shapes and len(ggufs) == 1:
            shapes = {name: tensor.shape for name, tensor in tensors_of(ggufs[0]).items()}
    except (OSError, QuantmakeError):
        return None  # whoever reads it in earnest says what is wrong
    return Outline.of(shapes) if shapes else None
