"""Structure of a written encoder, before it is committed."""

from pathlib import Path

from scripts.backends.encoder import load_encoder
from scripts.backends.onnx.check import kinds_of_matmul, refuse_broken_scales
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
    refuse_broken_scales(out)
    load_encoder("onnx", out, threads=1).embed(_TOKENS)
