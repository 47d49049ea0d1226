"""What a Hugging Face folder consists of, in FP16 or in bitsandbytes' 4 bits."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from scripts.backends.inventory import Inventory
from scripts.backends.misfits import KEY, sentences


def inventory(artifact: Path) -> Inventory:
    """Of the folder `artifact`."""
    config = json.loads((artifact / "config.json").read_text())
    size = sum(path.stat().st_size for path in artifact.glob("*.safetensors"))
    return Inventory(size, _torch_types(artifact), tuple(sentences(config.get(KEY, {}))))


def safetensors_header(path: Path) -> dict[str, Any]:
    """Names, types and shapes of a file's tensors (format: huggingface/safetensors)."""
    with path.open("rb") as file:
        header: dict[str, Any] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    header.pop("__metadata__", None)
    return header


def _torch_types(folder: Path) -> Counter[str]:
    types: Counter[str] = Counter()
    for shard in sorted(folder.glob("*.safetensors")):
        tensors = safetensors_header(shard)
        for name, tensor in tensors.items():
            mark = name.rpartition("quant_state.bitsandbytes__")
            if mark[1]:
                types[mark[2].upper()] += 1
            elif name.endswith("weight") and f"{name}.absmax" not in tensors:
                types[tensor["dtype"]] += 1
    return types
