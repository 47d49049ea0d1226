"""What the calibration says of a GGUF file's tensors, by the file's own names of them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import MODEL_ARCH_NAMES, GGUFReader, get_tensor_name_map
from safetensors import safe_open
from torch import Tensor

from scripts.calibration.gradients import EMBEDDING, FILE, HEAD, SHARED
from scripts.errors import QuantmakeError

Means = dict[str, np.ndarray[Any, np.dtype[np.float32]]]
STATISTICS = "statistics.safetensors"
_EMBEDDING, _OUTPUT = "token_embd.weight", "output.weight"
# llama.cpp's converter reorders their rows for some architectures.
_REORDERED = ("attn_q.weight", "attn_k.weight")


@dataclass(frozen=True)
class Importance:
    """Of tensors that read the same input: their loss is ½ Σ_r rows[r] · dW[r] H dW[r]ᵀ nats.

    `hessian` [columns, columns]; `rows` maps each tensor's name to [rows].
    """

    hessian: Tensor
    rows: dict[str, Tensor]


def names_in(reader: GGUFReader) -> Any:
    """gguf's map from a Hugging Face model's names to those in this file."""
    architecture = reader.fields["general.architecture"].contents()
    kind = {name: key for key, name in MODEL_ARCH_NAMES.items()}[architecture]
    return get_tensor_name_map(kind, reader.fields[f"{architecture}.block_count"].contents())


def mean_squares(f16: Path, capture: Path) -> Means:
    """llama.cpp's importance matrix: the mean squared input of each column [columns], by tensor.

    A tied embedding is read as the head, so it has the head's.
    Raises QuantmakeError that names the tensors whose inputs are not finite or all zero, and
    where the capture knows none of the file's tensors.
    """
    reader = GGUFReader(f16)
    widths = {tensor.name: int(tensor.shape[0]) for tensor in reader.tensors}
    names = names_in(reader)
    found: Means = {}
    with safe_open(capture / STATISTICS, "np") as statistics:
        keys: list[str] = statistics.keys()
        for key in keys:
            module, _, what = key.rpartition(".")
            name = f"{names.get_name(module)}.weight"
            if name == _OUTPUT and name not in widths:
                name = _EMBEDDING
            if what == "mean_square" and name in widths:
                found[name] = np.ascontiguousarray(statistics.get_tensor(key), np.float32)
    broken = [n for n, mean in found.items() if not np.isfinite(mean).all() or not mean.any()]
    if broken or not found:
        raise QuantmakeError(
            "no importance matrix for llama.cpp: the calibration's capture "
            + (f"is zero or not finite for {', '.join(broken)}" if broken else "fits no tensor")
            + ". Give the calibration more tokens or another text, or leave out `imatrix`."
        )
    return found


def importances(f16: Path, curvature: Path) -> Iterator[Importance]:
    """Each Hessian with the tensors that it is of; the embedding comes last.

    Raises QuantmakeError where a tensor has another shape than the linear that it comes from.
    """
    reader = GGUFReader(f16)
    shapes = {t.name: t.shape.tolist()[::-1] for t in reader.tensors if len(t.shape) == 2}
    names = names_in(reader)
    with safe_open(curvature / FILE, "pt") as file:
        sharing: dict[str, list[str]] = {}
        for module, source in json.loads(file.metadata()[SHARED]).items():
            sharing.setdefault(source, []).append(module)
        for source, modules in sharing.items():
            rows = {}
            for module in modules:
                name = _OUTPUT if module == HEAD else f"{names.get_name(module)}.weight"
                if name in shapes:
                    rows[name] = file.get_tensor(f"{module}.gradient_square")
                if name.endswith(_REORDERED) and name in rows:
                    rows[name] = rows[name].mean().expand(len(rows[name]))
            if rows:
                yield _checked(Importance(file.get_tensor(f"{source}.hessian"), rows), shapes)
        read = file.get_tensor(f"{EMBEDDING}.gradient_square").diag()
        # A token is read as often as it is expected: both uses of a tied row weigh it alike.
        if _OUTPUT not in shapes:
            read = read + file.get_tensor(f"{HEAD}.hessian")
        rows = {_EMBEDDING: file.get_tensor(f"{HEAD}.gradient_square")}
        yield _checked(Importance(read, rows), shapes)


def _checked(importance: Importance, shapes: dict[str, list[int]]) -> Importance:
    for name, rows in importance.rows.items():
        if [len(rows), len(importance.hessian)] != shapes[name]:
            raise QuantmakeError(
                f"{name} is {shapes[name]}, but the calibration saw a linear of "
                f"{[len(rows), len(importance.hessian)]} under this name: llama.cpp's converter "
                "reshapes it, so neither `type: auto` nor `rounding: gptq` can be used here"
            )
    return importance
