"""Tune a written GGUF file: the FP16 numbers of its blocks, and its norms, which are in F32."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFReader
from gguf.quants import dequantize
from numpy.typing import NDArray
from torch import nn
from transformers.pytorch_utils import Conv1D

from scripts.backends.gguf.importance import values_of
from scripts.backends.gguf.loader import LlamaModel
from scripts.backends.gguf.names import EMBEDDING, OUTPUT, Matrix, Names
from scripts.backends.gguf.numbers import has_numbers, parts_of, put_numbers
from scripts.backends.tune import Tune
from scripts.errors import QuantmakeError
from scripts.tuning.block_linear import BlockLinear
from scripts.tuning.student import learn, load_float, norms_of, set_norm, set_weight
from scripts.workers import available_cores

_FLOATS = ("F32", "F16", "BF16")


@dataclass(frozen=True)
class _Learnt:
    """A matrix of the file, the linear that stands for it, and which row of the linear each of its
    rows is."""

    matrix: Matrix
    linear: BlockLinear
    order: NDArray[np.int64]


@dataclass(frozen=True)
class _LearntNorm:
    """A tensor of the file, the norm that stands for it, and what is added to its weight."""

    tensor: str
    module: nn.Module
    shift: float


class _Student:
    """A GGUF file in PyTorch."""

    def __init__(self, out: Path, f16: Path, base: Path) -> None:
        reader = GGUFReader(out)
        self._names = Names(reader)
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}
        self._originals = {tensor.name: tensor for tensor in GGUFReader(f16).tensors}
        self.model: Any = load_float(base)
        self._take_ends()
        self.norms = list(self._take_norms())
        self.learnt = list(self._take_linears())

    def _take_ends(self) -> None:
        """The embedding and the head, which keep their values."""
        ends = {
            EMBEDDING: self.model.get_input_embeddings(),
            OUTPUT: self.model.get_output_embeddings(),
        }
        for name, module in ends.items():
            if name in self._tensors:
                set_weight(self.model, module, torch.from_numpy(_values(self._tensors[name])))

    def _take_norms(self) -> Iterator[_LearntNorm]:
        """Norms; the converter adds to their weights what some add to these themselves."""
        for name, weight in norms_of(self.model).items():
            tensor = self._tensors.get(self._names.tensor(name))
            if tensor is None:
                continue
            shift = torch.from_numpy(tensor.data.copy()) - weight
            if bool((shift == shift[0]).all()):
                norm, added = self.model.get_submodule(name), float(shift[0])
                set_norm(norm, weight, shift=added)
                yield _LearntNorm(tensor.name, norm, added)

    def _take_linears(self) -> Iterator[_Learnt]:
        for name, module in [*self.model.named_modules()]:
            matrix = self._names.of(name)
            if not isinstance(module, nn.Linear | Conv1D) or matrix is None:
                continue
            tensor = self._tensors.get(matrix.tensor)
            if tensor is None or matrix.tensor in (EMBEDDING, OUTPUT) or _is_float(tensor):
                continue
            weight = module.weight.T if isinstance(module, Conv1D) else module.weight
            order = self._order(matrix, weight.detach().numpy())
            if not has_numbers(_type_of(tensor)):
                values = torch.from_numpy(matrix.of(_values(tensor))[np.argsort(order)])
                module.weight = nn.Parameter(values, requires_grad=False)
                continue
            parts = parts_of(matrix.of(tensor.data)[np.argsort(order)], _type_of(tensor))
            linear = BlockLinear(parts, module.bias)
            self.model.set_submodule(name, linear)
            yield _Learnt(matrix, linear, order)

    def _order(self, matrix: Matrix, weight: NDArray[np.float32]) -> NDArray[np.int64]:
        """Which row of the base's weight [N, K] each row of a matrix is: llama.cpp's converter
        reorders them for some architectures. Raises QuantmakeError where they are not the same."""
        rows: dict[bytes, list[int]] = {}
        for place, row in enumerate(weight):
            rows.setdefault(row.tobytes(), []).append(place)
        values = matrix.of(values_of(self._originals[matrix.tensor])).numpy()
        try:
            return np.array([rows[row.tobytes()].pop(0) for row in values])
        except (KeyError, IndexError):
            raise QuantmakeError(
                f"tune does not know {matrix.tensor}: llama.cpp's converter gives it other values "
                "than the base has. Leave tune out of the recipe."
            ) from None


def tune(inputs: Mapping[str, Path], out: Path, settings: Tune) -> None:
    """Replace the FP16 numbers and the norms of `out` in place by learnt ones.

    `inputs` are the F16 file, the base and the calibration. Where the windows held out are not
    predicted better, the file stays as it was. Raises QuantmakeError for tensors that are not
    those of the base, and as `learn`.
    """
    student = _Student(out, inputs["f16"], inputs["base"])

    def scorer(context: int) -> LlamaModel:
        return LlamaModel(out, available_cores(), context)

    if not learn(student.model, scorer, inputs["base"], inputs["calibration"], settings):
        return
    file = GGUFReader(out, "r+")
    tensors = {tensor.name: tensor for tensor in file.tensors}
    for one in student.learnt:
        tensor = tensors[one.matrix.tensor]
        scales = [scale.detach()[torch.from_numpy(one.order)] for scale in one.linear.tuned()]
        put_numbers(one.matrix.of(tensor.data), _type_of(tensor), scales)
    for norm in student.norms:
        weight = torch.as_tensor(norm.module.weight).detach()
        tensors[norm.tensor].data[...] = (weight + norm.shift).numpy()
    file.data.flush()


def _values(tensor: Any) -> NDArray[np.float32]:
    """Of a GGUFReader's tensor, in float32."""
    return np.array(dequantize(tensor.data, _type_of(tensor)), np.float32)


def _type_of(tensor: Any) -> GGMLQuantizationType:
    return GGMLQuantizationType(tensor.tensor_type)


def _is_float(tensor: Any) -> bool:
    return _type_of(tensor).name in _FLOATS
