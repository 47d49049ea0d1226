"""Structure of a written ONNX artefact, before it is committed."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from scripts.errors import QuantmakeError
from scripts.onnx_files.graph import MODEL, open_graph

QUANTISED = ("MatMulNBits", "DynamicQuantizeMatMul", "QuantizeLinear")


def check_artifact(out: Path) -> None:
    """Raise QuantmakeError where it does not load, nothing was quantised or a scale is broken."""
    try:
        ort.InferenceSession(out / MODEL, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own kinds
        raise QuantmakeError(f"{out.name}: onnxruntime can't load it: {error}") from None
    graph = onnx.load(out / MODEL, load_external_data=False).graph
    if not any(node.op_type in QUANTISED for node in graph.node):
        raise QuantmakeError(f"{out.name}: nothing in it was quantised")
    bad = [
        name
        for name, value in open_graph(out).graph.initializers.items()
        if name.endswith(("_scale", "_scales"))
        and value.const_value is not None
        and not np.isfinite(value.const_value.numpy()).all()
    ]
    if bad:
        raise QuantmakeError(f"{out.name}: scales that are not finite: {', '.join(bad)}")
