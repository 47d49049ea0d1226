"""What a folder of MLX, or the base that mlx-lm reads as it is, consists of."""

import json
from collections import Counter
from pathlib import Path

from scripts.backends.inventory import Inventory
from scripts.backends.unsupported import KEY, sentences
from scripts.tensors.header import tensors_in

_SCALES = ".scales"


def inventory(artifact: Path) -> Inventory:
    """Of the folder `artifact`."""
    config = json.loads((artifact / "config.json").read_text(encoding="utf-8"))
    size = sum(path.stat().st_size for path in artifact.glob("*.safetensors"))
    types: Counter[str] = Counter()
    tensors, said = tensors_in(artifact), config.get("quantization", {})
    for name, tensor in tensors.items():
        stem, _, part = name.rpartition(".")
        if part == "weight" and f"{stem}{_SCALES}" in tensors:
            types[f"INT{said.get(stem, said)['bits']}"] += 1
        elif part == "weight":
            types[tensor.dtype] += 1
    return Inventory(size, types, tuple(sentences(config.get(KEY, {}))))
