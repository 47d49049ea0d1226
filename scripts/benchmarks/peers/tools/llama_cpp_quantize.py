"""llama.cpp's own quantiser, of the version that quantmake pins, in quantmake's environment."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.benchmarks.peer import Inputs, Peer, Scheme

_IMATRIX = "The importance matrix is the capture's mean squared inputs; its time is not counted."


def quantise(inputs: Inputs, out: Path, options: Mapping[str, Any]) -> None:
    """What llama-quantize does, through llama.cpp's C interface."""
    from scripts.backends.gguf.llama import quantise as llama_quantise

    importance = None
    if options.get("imatrix"):
        from scripts.backends.gguf.imatrix import mean_squares

        importance = mean_squares(inputs["f16"], inputs["capture"])
    llama_quantise(inputs["f16"], out, options["type"], importance=importance)


def _scheme(kind: str, ours: str, *, imatrix: bool = False) -> Scheme:
    return Scheme(
        name=kind.upper() + ", imatrix" * imatrix,
        call="llama-quantize " + "--imatrix M " * imatrix + f"f16.gguf out.gguf {kind.upper()}",
        ours=ours,
        options={"type": f"MOSTLY_{kind.upper()}", "imatrix": imatrix},
        note=_IMATRIX * imatrix,
    )


_Q4_0 = "{format: gguf, type: q4_0, method: gptq}"
_Q4_K_M = "{format: gguf, type: q4_k_m, method: gptq}"
PEER = Peer(
    name="llama.cpp",
    packages=(),
    quantise=quantise,
    runtime="gguf",
    needs=("f16", "capture"),
    suffix=".gguf",
    schemes=(
        _scheme("q4_0", _Q4_0),
        _scheme("q4_0", _Q4_0, imatrix=True),
        _scheme("q4_k_m", _Q4_K_M),
        _scheme("q4_k_m", _Q4_K_M, imatrix=True),
        _scheme("q8_0", "{format: gguf, type: q8_0, method: gptq}"),
    ),
)
