"""A model cut into several safetensors files, and the index that transformers finds them by."""

import json
from collections.abc import Mapping
from pathlib import Path

INDEX = "model.safetensors.index.json"


def cut(sizes: Mapping[str, int], max_bytes: int) -> dict[str, list[str]]:
    """The names of the tensors of each file, sorted, with at most `max_bytes` of data or one
    tensor: of `model.safetensors` alone where all fit into it.
    """
    shards: list[list[str]] = [[]]
    left = max_bytes
    for name in sorted(sizes):
        if shards[-1] and sizes[name] > left:
            shards.append([])
            left = max_bytes
        shards[-1].append(name)
        left -= sizes[name]
    if len(shards) == 1:
        return {"model.safetensors": shards[0]}
    return {
        f"model-{number:05d}-of-{len(shards):05d}.safetensors": names
        for number, names in enumerate(shards, 1)
    }


def write_index(folder: Path, files: Mapping[str, str], total_bytes: int) -> None:
    """Write which file holds each tensor."""
    index = {"metadata": {"total_size": total_bytes}, "weight_map": dict(files)}
    text = json.dumps(index, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / INDEX).write_text(text + "\n", encoding="utf-8")
