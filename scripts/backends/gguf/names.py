"""Which matrix of a GGUF file a linear of the Hugging Face model has become."""

import re
from typing import Any, NamedTuple

import numpy as np
from gguf import MODEL_ARCH_NAMES, GGUFReader, get_tensor_name_map

EMBEDDING, OUTPUT = "token_embd.weight", "output.weight"
_EXPERT = re.compile(r"\.layers\.(\d+)\..*\bexperts\.(\d+)\.(\w+)$")
# llama.cpp's converter stacks the experts of a layer; the names are those of Qwen and Mixtral.
_STACKED = {
    **dict.fromkeys(("gate_proj", "w1"), "ffn_gate_exps"),
    **dict.fromkeys(("up_proj", "w3"), "ffn_up_exps"),
    **dict.fromkeys(("down_proj", "w2"), "ffn_down_exps"),
}
_HEADS = ("lm_head", "embed_out", "output")
# Granite's layers have gate and up in one, which the converter takes apart.
_GRANITE = {"input_linear": ("ffn_gate", "ffn_up"), "output_linear": ("ffn_down",)}
_SHARED = re.compile(r"\.layers\.(\d+)\.shared_mlp\.(input_linear|output_linear)$")
_NEVER_QUANTISED = "ffn_gate_inp"  # the router of experts (src/llama-quant.cpp)


class Matrix(NamedTuple):
    """A tensor [rows, columns], or an expert of one [experts, rows, columns]."""

    tensor: str
    expert: int | None = None

    def of(self, stacked: Any) -> Any:
        """Its part of the tensor's array."""
        return stacked if self.expert is None else stacked[self.expert]


class Names:
    """The matrices of a file; modules that it has no matrix of have none."""

    def __init__(self, reader: GGUFReader) -> None:
        architecture = reader.fields["general.architecture"].contents()
        kind = {name: key for key, name in MODEL_ARCH_NAMES.items()}[architecture]
        self._map = get_tensor_name_map(
            kind, reader.fields[f"{architecture}.block_count"].contents()
        )
        self.shapes = {t.name: t.shape.tolist()[::-1] for t in reader.tensors if len(t.shape) > 1}

    def tensor(self, module: str) -> str:
        """The tensor that holds a module's weight, by the map of llama.cpp's converter."""
        return f"{self._map.get_name(module)}.weight"

    def of(self, module: str) -> Matrix | None:
        """The matrix of a linear; a head that is tied in the file is OUTPUT all the same."""
        expert = _EXPERT.search(module)
        if expert and expert[3] in _STACKED:
            matrix = Matrix(f"blk.{expert[1]}.{_STACKED[expert[3]]}.weight", int(expert[2]))
        elif module in _HEADS:
            return Matrix(OUTPUT)
        else:
            matrix = Matrix(self.tensor(module))
        known = matrix.tensor in self.shapes and _NEVER_QUANTISED not in matrix.tensor
        return matrix if known else None

    def parts(self, module: str) -> dict[Matrix, slice]:
        """The matrices that hold a linear's weight, one after the other, with the rows of each."""
        if shared := _SHARED.search(module):
            tensors = [f"blk.{shared[1]}.{part}.weight" for part in _GRANITE[shared[2]]]
            if all(tensor in self.shapes for tensor in tensors):
                ends = np.cumsum([0, *(self.shapes[tensor][-2] for tensor in tensors)]).tolist()
                rows = map(slice, ends, ends[1:])
                return dict(zip(map(Matrix, tensors), rows, strict=True))
        matrix = self.of(module)
        return {matrix: slice(None)} if matrix is not None else {}
