"""Structure of a written encoder, before it is committed."""

from pathlib import Path

import numpy as np

from scripts.backends.encoder import load_encoder
from scripts.backends.onnx.check import kinds_of_matmul
from scripts.backends.onnx.graph import linears, open_graph
from scripts.errors import QuantmakeError

_TOKENS = [[0, 1, 2, 3], [0, 1]]


def check_encoder(source: Path, out: Path) -> None:
    """Compare the artefact `out` with the fp32 graph `source`.

    Raises QuantmakeError where a MatMul was left in float, a scale is broken, onnxruntime can't
    load it, or its embeddings are not finite.
    """
    wanted, kinds = len(linears(open_graph(source))), kinds_of_matmul(out)
    if kinds["float"] or kinds.total() != wanted:
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "none"
        raise QuantmakeError(
            f"{out.name}: {wanted} MatMuls should have been quantised, but it holds {counts}"
        )
    bad = [
        name
        for name, value in open_graph(out).graph.initializers.items()
        if name.endswith(("_scale", "_scales"))
        and value.const_value is not None
        and not np.isfinite(value.const_value.numpy()).all()
    ]
    if bad:
        raise QuantmakeError(f"{out.name}: scales that are not finite: {', '.join(bad)}")
    load_encoder("onnx", out, threads=1).embed(_TOKENS)
