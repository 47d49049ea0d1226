"""What an ONNX folder consists of."""

import json
from collections import Counter
from pathlib import Path

import onnx

from scripts.backends.inventory import Inventory
from scripts.backends.unsupported import KEY, sentences


def inventory(artifact: Path) -> Inventory:
    """Of the folder `artifact`."""
    model = onnx.load(artifact / "model.onnx", load_external_data=False)
    kept = {one.key: one.value for one in model.metadata_props}
    notes = sentences(json.loads(kept.get(KEY, "{}")))
    size = sum(path.stat().st_size for path in artifact.glob("*.onnx*"))
    return Inventory(size, _types(model.graph), tuple(notes))


def _types(graph: onnx.GraphProto) -> Counter[str]:
    makers = {output: node for node in graph.node for output in node.output}
    constants = {tensor.name for tensor in graph.initializer}
    types: Counter[str] = Counter()
    for node in graph.node:
        attributes = {entry.name: entry.i for entry in node.attribute}
        if node.op_type in ("MatMulNBits", "GatherBlockQuantized"):
            types[f"{node.op_type} {attributes.get('bits', 4)}-bit"] += 1
        elif node.op_type in ("MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"):
            types["INT8 dynamic"] += 1
        elif node.op_type == "MatMul":
            maker = makers.get(node.input[1])
            if maker is not None and maker.op_type == "DequantizeLinear":
                types["INT8 static"] += 1
            elif node.input[1] in constants:
                types["FP32"] += 1
    return types
