"""What a folder of compressed-tensors consists of."""

import json
from collections import Counter
from pathlib import Path

from scripts.backends.inventory import Inventory
from scripts.backends.unsupported import KEY, sentences
from scripts.tensors.header import tensors_in

_TYPES = {("int", 4): "INT4", ("int", 8): "INT8", ("float", 8): "FP8", ("float", 4): "NVFP4"}


def inventory(artifact: Path) -> Inventory:
    """Of the folder `artifact`."""
    config = json.loads((artifact / "config.json").read_text(encoding="utf-8"))
    size = sum(path.stat().st_size for path in artifact.glob("*.safetensors"))
    said = config["quantization_config"]
    notes = [_kept(said["ignore"]), *sentences(config.get(KEY, {}))]
    return Inventory(size, _types(artifact, said), tuple(notes))


def _types(folder: Path, said: dict[str, dict[str, dict[str, dict[str, object]]]]) -> Counter[str]:
    """A quantised weight is the one that has a scale."""
    (group,) = said["config_groups"].values()
    kind = _TYPES[str(group["weights"]["type"]), int(str(group["weights"]["num_bits"]))]
    tensors = tensors_in(folder)
    types: Counter[str] = Counter()
    for name, tensor in tensors.items():
        stem, _, part = name.rpartition(".")
        if part == "weight_scale":
            types[kind] += 1
        elif part == "weight" and f"{stem}.weight_scale" not in tensors:
            types[tensor.dtype] += 1
    return types


def _kept(ignored: list[str]) -> str:
    names = ", ".join(ignored)
    return f"The embedding and these linear layers stay in FP16, as llm-compressor has it: {names}."
