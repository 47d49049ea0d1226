"""What a Hugging Face folder consists of, in FP16 or in bitsandbytes' 4 bits."""

import json
from collections import Counter
from pathlib import Path

from scripts.backends.inventory import Inventory
from scripts.backends.unsupported import KEY, sentences
from scripts.tensors.header import tensors_in


def inventory(artifact: Path) -> Inventory:
    """Of the folder `artifact`."""
    config = json.loads((artifact / "config.json").read_text())
    size = sum(path.stat().st_size for path in artifact.glob("*.safetensors"))
    return Inventory(size, _torch_types(artifact), tuple(sentences(config.get(KEY, {}))))


def _torch_types(folder: Path) -> Counter[str]:
    types: Counter[str] = Counter()
    tensors = tensors_in(folder)
    for name, tensor in tensors.items():
        mark = name.rpartition("quant_state.bitsandbytes__")
        if mark[1]:
            types[mark[2].upper()] += 1
        elif name.endswith("weight") and f"{name}.absmax" not in tensors:
            types[tensor.dtype] += 1
    return types
