"""A PyTorch model that computes what an ONNX artefact's blocks stand for, and the way back.

MatMulNBits, see docs/ContribOperators.md of onnxruntime; the names are those of
onnxruntime-genai's builder.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import nn

from scripts.backends.onnx.graph import write_model
from scripts.errors import QuantmakeError
from scripts.tuning.block_linear import BlockLinear, Part, dequantised
from scripts.tuning.student import load_float, set_norm, set_weight

_MERGED = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "qk_proj": ("q_proj", "k_proj"),
    "kv_proj": ("k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
}
_NORMS = ("SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization")


@dataclass(frozen=True)
class Learnt:
    """An initialiser of the graph, and the modules that hold its rows, one after the other."""

    value: ir.Value
    modules: tuple[nn.Module, ...]

    def now(self) -> torch.Tensor:
        """What the initialiser should hold, as the modules are now."""
        parts = [m.tuned()[0] if isinstance(m, BlockLinear) else m.weight for m in self.modules]
        return torch.cat([torch.as_tensor(part) for part in parts]).detach()


def student_of(model: ir.Model, base: Path) -> tuple[nn.Module, list[Learnt]]:
    """The artefact `model` in PyTorch, and what can be learnt of it.

    The head and the embedding keep their values, as do scales that two MatMuls share. Raises
    QuantmakeError for a graph whose MatMuls have no counterparts in the base.
    """
    student, learnt = load_float(base), []
    for node in model.graph:
        if node.op_type == "MatMulNBits":
            learnt += _take_blocks(student, node)
        elif node.op_type in _NORMS:
            learnt += _take_norm(student, node)
    return student, learnt


def put_back(model: ir.Model, learnt: list[Learnt], out: Path) -> None:
    """Give the learnt values to the graph, in the types that it has, and write it to `out`."""
    for one in learnt:
        old = _array(one.value)
        new = one.now().reshape(old.shape).numpy().astype(old.dtype)
        one.value.const_value = ir.tensor(new, name=one.value.name)
    write_model(model, out)


def _take_blocks(student: nn.Module, node: ir.Node) -> list[Learnt]:
    """Put the blocks of a node in the place of the linears that it stands for."""
    packed, scales, zeros = (
        _source(node.inputs[place]) if len(node.inputs) > place else None for place in (1, 2, 3)
    )
    assert packed is not None
    assert scales is not None
    bits, size = (node.attributes[name].as_int() for name in ("bits", "block_size"))
    levels = _unpacked(_array(packed), bits, size)
    levels -= _zero_points(zeros, levels.shape, bits)
    levels = levels[:, :, None]
    step = torch.from_numpy(_array(scales).astype(np.float32)).view(levels.shape[:2])
    names = _module_names(node)
    places = [_find(student, name, node) for name in names]
    if names == ["lm_head"]:
        set_weight(student, places[0], dequantised([levels.float()], [step]))
        return []
    made, first = [], 0
    for name, old in zip(names, places, strict=True):
        rows = slice(first, first + torch.as_tensor(old.weight).shape[0])
        bias = None if old.bias is None else torch.as_tensor(old.bias)
        part = Part(levels[rows].contiguous(), step[rows].contiguous())
        made.append(BlockLinear([part], bias))
        student.set_submodule(name, made[-1])
        first = rows.stop
    if first != len(levels):
        raise _unknown(node, f"it has {len(levels)} rows, the base's {', '.join(names)} {first}")
    return [Learnt(scales, tuple(made))]


def _take_norm(student: nn.Module, node: ir.Node) -> list[Learnt]:
    """The weight of a norm, as the graph has it: methods fold factors into norms."""
    value = _source(node.inputs[2 if node.op_type.startswith("Skip") else 1])
    name = _norm_name(node.name or "")
    if value is None or name is None:
        return []
    module = _find(student, name, node)
    set_norm(module, torch.from_numpy(_array(value).astype(np.float32)))
    return [Learnt(value, (module,))]


def _norm_name(node: str) -> str | None:
    """The module of a norm's node, such as model.layers.0.input_layernorm."""
    if "final_norm" in node:
        return "model.norm"
    layer = re.match(r"/(model/layers\.\d+/(?:input|post_attention)_layernorm)/", node)
    return layer[1].replace("/", ".") if layer else None


def _module_names(node: ir.Node) -> list[str]:
    """The linears of the base that a node stands for."""
    parts = re.sub(r"/MatMul(_Q\d)?$", "", node.name or "").strip("/").replace("/", ".")
    path, _, last = parts.replace(".attn.", ".self_attn.").rpartition(".")
    return [f"{path}.{name}".strip(".") for name in _MERGED.get(last, (last,))]


def _find(student: nn.Module, name: str, node: ir.Node) -> nn.Module:
    try:
        return student.get_submodule(name)
    except AttributeError:
        raise _unknown(node, f"the base has no module {name}") from None


def _unknown(node: ir.Node, why: str) -> QuantmakeError:
    return QuantmakeError(
        f"tune does not know what {node.name} of the graph stands for: {why}. It knows "
        "Llama-like graphs of onnxruntime-genai's builder; leave tune out of the recipe."
    )


def _source(value: ir.Value | None) -> ir.Value | None:
    """The initialiser that a value comes from, cast or not; None for an input left out."""
    while value is not None and value.const_value is None:
        maker = value.producer()
        if maker is None or maker.op_type != "Cast":
            return None
        value = maker.inputs[0]
    return value


def _array(value: ir.Value) -> NDArray[np.generic]:
    assert value.const_value is not None
    return np.array(value.const_value.numpy())


def _unpacked(packed: NDArray[np.generic], bits: int, size: int) -> torch.Tensor:
    """Integer codes int16 [N, K / block, block] of bytes, the low nibble first."""
    codes = torch.from_numpy(packed.astype(np.int16))
    if bits == 4:
        codes = torch.stack([codes & 15, codes >> 4], -1)
    return codes.reshape(len(codes), -1, size)


def _zero_points(zeros: ir.Value | None, shape: torch.Size, bits: int) -> torch.Tensor | int:
    """Zero points [N, K / block, 1]; 2^(bits - 1) where the node has none."""
    if zeros is None:
        return 1 << bits - 1
    codes = torch.from_numpy(_array(zeros).astype(np.int16)).view(shape[0], -1)
    if bits == 4:
        codes = torch.stack([codes & 15, codes >> 4], -1).flatten(1)
    return codes[:, : shape[1], None]
