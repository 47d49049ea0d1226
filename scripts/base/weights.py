"""Named tensors that are read one at a time; a base of FP16 written from them, and checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch

from scripts.base.skeleton import skeleton
from scripts.errors import QuantmakeError
from scripts.hashed_file import HashedFile
from scripts.progress import track
from scripts.tensors.finite import is_finite
from scripts.tensors.header import Layout, header_bytes, tensors_in
from scripts.tensors.mapped import mapped
from scripts.tensors.shards import cut, write_index

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
    """
    sizes = {name: 2 * prod(shape) for name, shape in weights.shapes.items()}
    tensors = {name: Layout("F16", weights.shapes[name], size) for name, size in sizes.items()}
    shards = cut(sizes, shard_bytes)
    problems: list[str] = []
    for file, names in shards.items():
        with HashedFile(out / file) as stream:
            stream.write(header_bytes({name: tensors[name] for name in names}, {"format": "pt"}))
            for name in track(names, "writing FP16", sizes.__getitem__):
                problem = _write_fp16(name, weights.load(name), stream)
                problems += [problem] if problem else []
    if problems:
        raise QuantmakeError(
            f"{len(problems)} tensors can't be stored in FP16 (its maximum is {FP16_MAX:,.0f}): "
            + "; ".join(problems)
            + ". A model like this needs another base type than FP16, or the source is damaged."
        )
    if len(shards) > 1:
        files = {name: file for file, names in shards.items() for name in names}
        write_index(out, files, sum(sizes.values()))


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
    return f"{name} (maximum magnitude {float(finite.abs().max()):,.0f})"


def _half(values: torch.Tensor) -> torch.Tensor:
    if values.dtype != torch.float64:
        return values.to(torch.float16)
    # torch would round to float32 on the way; numpy rounds once.
    with np.errstate(over="ignore"):
        return torch.from_numpy(values.numpy().astype(np.float16))


def check_base(folder: Path, *, trust: bool) -> None:
    """Raise QuantmakeError where the folder is not the FP16 model that its config describes."""
    tensors = tensors_in(folder)
    wrong = [f"{name} is {t.dtype}, not F16" for name, t in tensors.items() if t.dtype != "F16"]
    halves = {name: tensor for name, tensor in tensors.items() if tensor.dtype == "F16"}
    wrong += [
        f"{name} has values that are not finite"
        for name, values in mapped(halves).items()
        if not is_finite(values)
    ]
    if wrong:
        raise QuantmakeError(f"the base is broken: {'; '.join(wrong)}")
    model = skeleton(folder, trust=trust)
    model.compare({name: one.shape for name, one in tensors.items()}, "the base")
    _check_tokenizer(folder, model.model.get_input_embeddings().weight.shape[0], trust=trust)


def _check_tokenizer(folder: Path, rows: int, *, trust: bool) -> None:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust)
    except Exception as error:  # a tokenizer can be wrong in every way
        reason = str(error).strip().partition("\n")[0]
        raise QuantmakeError(f"transformers can't read the model's tokenizer: {reason}") from error
    highest = max(tokenizer.get_vocab().values(), default=-1)
    if highest >= rows:
        raise QuantmakeError(
            f"the tokenizer has the id {highest}, but the model's embedding has {rows} rows; "
            "the tokenizer belongs to another model"
        )
