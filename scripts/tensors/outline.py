"""The sizes of a model, from the headers of its files alone: what forecasts are made of."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from scripts.errors import QuantmakeError
from scripts.forecast import Outline

IN_NO_KEY = "it says what a stage will need, and makes no bytes"


def outline_of(folder: Path) -> Outline | None:
    """Of a folder with safetensors or one GGUF file; None where there is none that can be read. Of
    a checkpoint that reads pictures or sound too it is that of its language model."""
    # Here: a graph is drawn without them.
    from scripts.tensors.gguf_header import tensors_of
    from scripts.tensors.header import tensors_in
    from scripts.tensors.language_model import language_tensors

    try:
        shapes = {name: tensor.shape for name, tensor in tensors_in(folder).items()}
        ggufs = list(folder.glob("*.gguf"))
        if not shapes and len(ggufs) == 1:
            shapes = {name: tensor.shape for name, tensor in tensors_of(ggufs[0]).items()}
    except (OSError, QuantmakeError):
        return None  # whoever reads it in earnest says what is wrong
    alone = {ours: shapes[name] for ours, name in language_tensors(shapes).items()}
    return replace(Outline.of(alone or shapes), **_config(folder)) if shapes else None


def _config(folder: Path) -> dict[str, Any]:
    """What config.json says of the kind of model; of one that reads pictures or sound too, what it
    says of the language model, which has no class of its own there."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config = config.get("text_config") or config
        named = tuple(map(str, config.get("architectures") or ()))
        return {"model_type": str(config.get("model_type", "")), "architectures": named}
    except (OSError, ValueError, AttributeError):
        return {}
