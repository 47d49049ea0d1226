"""What the benchmark of big models runs: stages of this project, and the tools of others."""

from collections.abc import Mapping
from dataclasses import dataclass

PRE = "gpt-2"  # llama.cpp's converter does not know the seeded model's tokenizer by itself
_CONVERT = """
import importlib, runpy, sys
from pathlib import Path
_, converter, pre, *arguments = sys.argv
sys.path[:0] = [str(Path(converter).parent), str(Path(converter).parent / "gguf-py")]
base = importlib.import_module("conversion.base")
base.TextModel.get_vocab_base_pre = lambda self, tokenizer: pre
sys.argv = [converter, *arguments]
runpy.run_path(converter, run_name="__main__")
"""
_QUANTISE = """
import sys, llama_cpp
settings = llama_cpp.llama_model_quantize_default_params()
settings.ftype = getattr(llama_cpp, sys.argv[3])
sys.exit(llama_cpp.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), settings))
"""


@dataclass(frozen=True)
class Arm:
    """One row: what Python is called with, in the folder of all files, to write `out`.

    `reads` are names of files that earlier rows wrote.
    """

    out: str
    reads: tuple[str, ...]
    arguments: tuple[str, ...]


def _stage(name: str, out: str, inputs: Mapping[str, str], **options: object) -> Arm:
    """A stage, by hand; `inputs` are the files that it reads, by its names for them."""
    given = [part for key, file in inputs.items() for part in ("--in", f"{key}={file}")]
    settings = [f"{key}={value}" for key, value in options.items()]
    command = ("-m", "scripts.exec", name, "--out", out, *given, *settings)
    return Arm(out, tuple(inputs.values()), command)


def _onnx(bits: int) -> Arm:
    name, graph = "scripts.backends.onnx.formats.rtn:OnnxRtn", {"graph": "graph"}
    return _stage(name, f"int{bits}", graph, format="onnx", bits=bits, method="rtn")


def _gguf(kind: str) -> Arm:
    name, f16 = "scripts.backends.gguf.format:GgufFile", {"f16": "f16.gguf"}
    return _stage(name, f"{kind}.gguf", f16, format="gguf", type=kind)


def _llama_quantise(kind: str) -> Arm:
    source, out = "theirs.gguf", f"theirs-{kind}.gguf"
    return Arm(out, (source,), ("-c", _QUANTISE, source, out, f"LLAMA_FTYPE_MOSTLY_{kind.upper()}"))


_NF4 = "scripts.backends.bitsandbytes.format:Bitsandbytes4bit"
_CONVERTER = (
    *("-B", "-P", "-c", _CONVERT, "toolchain/convert_hf_to_gguf.py", PRE),
    *("--outtype", "f16", "--outfile", "theirs.gguf", "base"),
)
_BUILDER = (
    *("-m", "onnxruntime_genai.models.builder", "-i", "base", "-o", "built"),
    *("-p", "int4", "-e", "cpu", "-c", "builder-cache"),
)
ARMS = {
    "import": _stage("scripts.base.make_base:Base", "base", {"source": "source"}),
    "nf4": _stage(_NF4, "nf4", {"base": "base"}, format="bitsandbytes"),
    "graph": _stage("scripts.backends.onnx.export:OnnxGraph", "graph", {"base": "base"}),
    "int8": _onnx(8),
    "int4": _onnx(4),
    "toolchain": _stage("scripts.backends.gguf.toolchain:Toolchain", "toolchain", {}),
    "f16": _stage(
        "scripts.backends.gguf.f16:F16Gguf",
        "f16.gguf",
        {"base": "base", "toolchain": "toolchain"},
        tokenizer_pre=PRE,
    ),
    "llama.cpp's f16": Arm("theirs.gguf", ("base", "toolchain"), _CONVERTER),
    "q4_0": _gguf("q4_0"),
    "llama.cpp's q4_0": _llama_quantise("q4_0"),
    "q8_0": _gguf("q8_0"),
    "llama.cpp's q8_0": _llama_quantise("q8_0"),
    "genai's int4": Arm("built", ("base",), _BUILDER),
}
