"""Named tensors that are read one at a time, and safetensors in FP16 written from them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch

from scripts.errors import QuantmakeError
from scripts.hashed_file import HashedFile
from scripts.progress import track
from scripts.tensors.finite import is_finite

FP16_MAX = 65504.0
_AT_ONCE = 1 << 20  # values that are converted and written at a time


@dataclass(frozen=True)
class Weights:
    """The shape of every tensor by name, and a function that reads one of them."""

    shapes: Mapping[str, tuple[int, ...]]
    load: Callable[[str], torch.Tensor]


def write_fp16(weights: Weights, out: Path, shard_bytes: int = 5_000_000_000) -> None:
    """Write `model.safetensors`, or shards with an index where it would exceed `shard_bytes`.

    One tensor is in memory at a time, or a part of one that is mapped. Raises QuantmakeError that
    names every tensor with a value that is not finite in FP16.
    Format: huggingface.co/docs/safetensors.
    """
    shards = _plan(weights.shapes, shard_bytes)
    files = [
        "model.safetensors"
        if len(shards) == 1
        else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        for number in range(1, len(shards) + 1)
    ]
    problems: list[str] = []
    for file, names in zip(files, shards, strict=True):
        with HashedFile(out / file) as stream:
            stream.write(_header({name: weights.shapes[name] for name in names}))
            for name in track(names, "writing FP16", lambda name: 2 * prod(weights.shapes[name])):
                problem = _write_fp16(name, weights.load(name), stream)
                problems += [problem] if problem else []
    if problems:
        raise QuantmakeError(
            f"{len(problems)} tensors can't be stored in FP16 (greatest value {FP16_MAX:,.0f}): "
            + "; ".join(problems)
            + ". A model like this needs another base type than FP16, or the source is damaged."
        )
    if len(shards) > 1:
        _write_index(out, files, shards, weights.shapes)


def _write_fp16(name: str, tensor: torch.Tensor, stream: HashedFile) -> str | None:
    """Convert and write a tensor piece by piece; what is wrong with its values, if anything."""
    fits = True
    for part in torch.split(tensor.reshape(-1), _AT_ONCE):
        half = _half(part)
        fits = fits and is_finite(half)
        stream.write(half.numpy().data)
    if fits:
        return None
    finite = tensor[torch.isfinite(tensor)]
    broken = tensor.numel() - finite.numel()
    if broken:
        return f"{name} ({broken} values are NaN or infinite in the source)"
    return f"{name} (greatest magnitude {float(finite.abs().max()):,.0f})"


def _half(values: torch.Tensor) -> torch.Tensor:
    if values.dtype != torch.float64:
        return values.to(torch.float16)
    # torch would round to float32 on the way; numpy rounds once.
    with np.errstate(over="ignore"):
        return torch.from_numpy(values.numpy().astype(np.float16))


def _plan(shapes: Mapping[str, tuple[int, ...]], shard_bytes: int) -> list[list[str]]:
    """Names in order, cut into runs of at most `shard_bytes` (or one tensor)."""
    shards: list[list[str]] = [[]]
    room = shard_bytes
    for name in sorted(shapes):
        size = 2 * prod(shapes[name])
        if shards[-1] and size > room:
            shards.append([])
            room = shard_bytes
        shards[-1].append(name)
        room -= size
    return shards


def _header(shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in shapes.items():
        end = offset + 2 * prod(shape)
        entries[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write_index(
    out: Path, files: list[str], shards: list[list[str]], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    total = sum(2 * prod(shape) for shape in shapes.values())
    places = {name: file for file, names in zip(files, shards, strict=True) for name in names}
    index = {"metadata": {"total_size": total}, "weight_map": places}
    text = json.dumps(index, indent=2, sort_keys=True) + "\n"
    (out / "model.safetensors.index.json").write_text(text)
