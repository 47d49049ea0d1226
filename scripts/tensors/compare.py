"""Where the tensors of two files differ first, and by how much."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

IN_NO_KEY = "it looks at two results, and makes none"

Tensors = Mapping[str, Callable[[], NDArray[Any]]]
"""By name, in the order of the file, what reads a tensor's values."""


def first_difference(before: Tensors, after: Tensors) -> str:
    """One sentence; empty where all tensors are equal."""
    apart = sorted(before.keys() ^ after.keys())
    if apart:
        return f"tensors that only one has: {', '.join(apart)}"
    said, count = "", 0
    for name, read in before.items():
        one, other = read(), after[name]()
        if one.shape == other.shape and one.tobytes() == other.tobytes():
            continue
        count += 1
        said = said or f"{name}: {_by_how_much(one, other)}"
    return f"{count} of {len(before)} tensors differ, first {said}" if count else ""


def _by_how_much(one: NDArray[Any], other: NDArray[Any]) -> str:
    if one.shape != other.shape or one.dtype != other.dtype:
        return f"{one.dtype} {list(one.shape)} → {other.dtype} {list(other.shape)}"
    wide = np.float64 if one.dtype.kind == "f" else np.int64
    difference = np.abs(one.astype(wide) - other.astype(wide))
    differ = int((~(one == other)).sum())
    largest, scale = float(np.nanmax(difference)), float(np.abs(one.astype(wide)).max())
    share = f", {largest / scale:.1e} of its largest value" if scale and wide is np.float64 else ""
    return f"{differ:,} of {one.size:,} values, by at most {largest:.3g}{share}"


def of_safetensors(folder: Path) -> Tensors:
    """The tensors of a folder's safetensors files; BF16 as its bits."""
    import torch
    from safetensors import safe_open

    def read(file: Path, name: str) -> NDArray[Any]:
        with safe_open(file, "pt") as opened:
            tensor = opened.get_tensor(name)
        bits = tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor
        array: NDArray[Any] = bits.numpy()
        return array

    tensors: dict[str, Callable[[], NDArray[Any]]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "np") as opened:
            tensors.update({name: partial(read, file, name) for name in opened.keys()})  # noqa: SIM118
    return tensors
