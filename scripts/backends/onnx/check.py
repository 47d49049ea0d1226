"""Structure of a written ONNX artefact, before it is committed."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx

from scripts.backends.model import load_model
from scripts.backends.onnx.graph import MODEL, linears, open_graph
from scripts.errors import QuantmakeError
from scripts.tensors.compare import Tensors, first_difference

_TOKENS = 4


def kinds_of_matmul(folder: Path) -> Counter[str]:
    """Counts of MatMuls with constant weights by kind: 4, 8, dynamic, static and float; `stacked`
    are those in float with more weights than a matrix, in a node for all experts or of their own.
    """
    graph = onnx.load(folder / MODEL, load_external_data=False).graph
    makers = {output: node.op_type for node in graph.node for output in node.output}
    constants = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    kinds: Counter[str] = Counter()
    for node in graph.node:
        if node.op_type == "MatMulNBits":
            kinds[next(str(entry.i) for entry in node.attribute if entry.name == "bits")] += 1
        elif node.op_type == "DynamicQuantizeMatMul":
            kinds["dynamic"] += 1
        elif node.op_type == "MatMul" and makers.get(node.input[1]) == "DequantizeLinear":
            kinds["static"] += 1
        elif node.op_type == "MoE":
            kinds["stacked"] += sum(constants.get(name, 0) == 3 for name in node.input)
        elif node.op_type == "MatMul" and node.input[1] in constants:
            kinds["float" if constants[node.input[1]] == 2 else "stacked"] += 1
    return kinds


def difference_of(before: Path, after: Path) -> str:
    """Which initialisers of two graphs differ first, and by how much; or that the nodes do."""

    def tensors(folder: Path) -> Tensors:
        values = open_graph(folder).graph.initializers.items()
        held = {name: value.const_value for name, value in values}
        return {name: one.numpy for name, one in held.items() if one is not None}

    said = first_difference(tensors(before), tensors(after))
    return said or "the tensors are equal; nodes differ"


def check_artifact(
    source: Path, out: Path, *, float_allowed: bool = False, may_be_split: bool = False
) -> None:
    """Compare the artefact `out` with the fp32 graph `source` that it was made from, whose MatMuls
    `may_be_split` into several.

    Raises QuantmakeError where a MatMul was left in float that should not be, a scale is broken,
    onnxruntime can't load it, or its logits for a few tokens are not finite.
    """
    wanted, kinds = len(linears(open_graph(source))), kinds_of_matmul(out)
    stacked = kinds["stacked"]
    if stacked:
        raise QuantmakeError(
            f"{out.name}: {stacked} MatMuls multiply stacked weights (experts), which no format of "
            "ONNX quantises here; most of the model would stay in float. Take the artefacts with "
            "format onnx out of the recipe: GGUF quantises experts."
        )
    has_all = kinds.total() == wanted or (may_be_split and kinds.total() > wanted)
    if (kinds["float"] and not float_allowed) or not has_all:
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "none"
        raise QuantmakeError(
            f"{out.name}: {wanted} MatMuls should have been quantised, but it holds {counts}"
        )
    refuse_broken_scales(out)
    refuse_broken(out)


def refuse_broken(folder: Path) -> None:
    """Raise QuantmakeError where onnxruntime can't load it or its logits are not finite."""
    model = load_model("onnx", folder, threads=1, context=_TOKENS)
    model.prefill(np.arange(_TOKENS, dtype=np.int64))


def refuse_broken_scales(out: Path) -> None:
    """Raise QuantmakeError that names the scales of an artefact that are not finite."""
    bad = [
        name
        for name, value in open_graph(out).graph.initializers.items()
        if name.endswith(("_scale", "_scales"))
        and value.const_value is not None
        and not np.isfinite(value.const_value.numpy()).all()
    ]
    if bad:
        raise QuantmakeError(f"{out.name}: scales that are not finite: {', '.join(bad)}")
