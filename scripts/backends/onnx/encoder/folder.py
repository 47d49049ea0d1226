"""The files beside an encoder's graph: tokenizer, configuration, pooling."""

import shutil
from pathlib import Path

_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "model.onnx*")


def copy_beside(source: Path, out: Path) -> None:
    """Copy all files of a folder but its weights, those in folders of it too."""
    for path in sorted(source.rglob("*")):
        if path.is_file() and not any(path.match(one) for one in _WEIGHTS):
            target = out / path.relative_to(source)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, target)
