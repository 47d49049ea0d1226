"""The sizes of a model, from the headers of its files alone: what forecasts are made of."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

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
    return replace(Outline.of(shapes), **_config(folder)) if shapes else None


def _config(folder: Path) -> dict[str, Any]:
    """What config.json says of the kind of model."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        named = tuple(map(str, config.get("architectures") or ()))
        return {"model_type": str(config.get("model_type", "")), "architectures": named}
    except (OSError, ValueError, AttributeError):
        return {}
