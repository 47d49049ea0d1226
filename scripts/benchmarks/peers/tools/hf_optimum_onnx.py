"""optimum-onnx: the export and the dynamic INT8 quantiser of Hugging Face."""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.benchmarks.peer import CPU_TORCH, Inputs, Peer, Scheme


def quantise(inputs: Inputs, out: Path, options: Mapping[str, Any]) -> None:
    """Export, then quantise, by optimum's command line."""
    command = str(Path(sys.executable).with_name("optimum-cli"))
    with tempfile.TemporaryDirectory(dir=out.parent) as exported:
        export = ("export", "onnx", "--model", str(inputs["base"]), *options["export"], exported)
        subprocess.run([command, *export], check=True)
        quantised = ("--onnx_model", exported, *options["quantise"], "-o", str(out))
        subprocess.run([command, "onnxruntime", "quantize", *quantised], check=True)
    (out / "model_quantized.onnx").rename(out / "model.onnx")


_EXPORT = ("--task", "text-generation-with-past")
_CALL = "optimum-cli export onnx {} EXPORT; optimum-cli onnxruntime quantize --onnx_model EXPORT {}"


def _scheme(name: str, *flags: str) -> Scheme:
    return Scheme(
        name=name,
        call=_CALL.format(" ".join(_EXPORT), " ".join(flags)),
        ours="{format: onnx, bits: 8, method: dynamic}",
        options={"export": _EXPORT, "quantise": flags},
    )


PEER = Peer(
    name="optimum-onnx",
    packages=(
        *(CPU_TORCH, "optimum==2.1.0", "optimum-onnx==0.1.0", "transformers==4.57.6"),
        *("onnx==1.23.2", "onnxruntime==1.32.0"),
    ),
    quantise=quantise,
    runtime="onnx",
    schemes=(_scheme("INT8 dynamic, a scale for each channel", "--avx512_vnni", "--per_channel"),),
)
