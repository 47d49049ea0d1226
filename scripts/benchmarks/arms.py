"""What the benchmark of big models runs: stages of this project, and the tools of others."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

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


class Arm(Protocol):
    """One row: it reads what earlier ones wrote, by name, and writes `out`."""

    @property
    def reads(self) -> tuple[str, ...]: ...
    @property
    def out(self) -> str: ...
    def command(self, folder: Path) -> list[str]:
        """The command line, for files in `folder`."""


@dataclass(frozen=True)
class StageArm:
    """A stage, by hand; `inputs` are the names of what it reads."""

    stage: str
    inputs: Mapping[str, str]
    out: str
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(self.inputs.values())

    def command(self, folder: Path) -> list[str]:
        """As `Arm.command`."""
        start = [sys.executable, "-m", "scripts.exec", self.stage, "--out", str(folder / self.out)]
        inputs = [f"{key}={folder / place}" for key, place in self.inputs.items()]
        options = [f"{key}={value}" for key, value in self.options.items()]
        return start + [part for pair in inputs for part in ("--in", pair)] + options


@dataclass(frozen=True)
class ToolArm:
    """Another project's tool. `{folder}` in its arguments is where the files are."""

    arguments: tuple[str, ...]
    reads: tuple[str, ...]
    out: str

    def command(self, folder: Path) -> list[str]:
        """As `Arm.command`."""
        return [sys.executable, *(part.replace("{folder}", str(folder)) for part in self.arguments)]


def _onnx(bits: int) -> StageArm:
    options = {"format": "onnx", "bits": bits, "method": "rtn"}
    return StageArm(
        "scripts.backends.onnx.formats.rtn:OnnxRtn", {"graph": "graph"}, f"int{bits}", options
    )


def _gguf(kind: str) -> StageArm:
    options = {"format": "gguf", "type": kind}
    return StageArm(
        "scripts.backends.gguf.format:GgufFile", {"f16": "f16.gguf"}, f"{kind}.gguf", options
    )


def _llama_quantise(kind: str) -> ToolArm:
    files = ("{folder}/theirs.gguf", "{folder}/theirs-" + f"{kind}.gguf")
    arguments = ("-c", _QUANTISE, *files, f"LLAMA_FTYPE_MOSTLY_{kind.upper()}")
    return ToolArm(arguments, ("theirs.gguf",), f"theirs-{kind}.gguf")


_CONVERTER = ToolArm(
    (
        *("-B", "-P", "-c", _CONVERT, "{folder}/toolchain/convert_hf_to_gguf.py", PRE),
        *("--outtype", "f16", "--outfile", "{folder}/theirs.gguf", "{folder}/base"),
    ),
    ("base", "toolchain"),
    "theirs.gguf",
)
_BUILDER = ToolArm(
    (
        *("-m", "onnxruntime_genai.models.builder", "-i", "{folder}/base", "-o", "{folder}/built"),
        *("-p", "int4", "-e", "cpu", "-c", "{folder}/builder-cache"),
    ),
    ("base",),
    "built",
)

ARMS: dict[str, Arm] = {
    "import": StageArm("scripts.base.make_base:Base", {"source": "source"}, "base"),
    "nf4": StageArm(
        "scripts.backends.bitsandbytes.format:Bitsandbytes4bit",
        {"base": "base"},
        "nf4",
        {"format": "bitsandbytes"},
    ),
    "graph": StageArm("scripts.backends.onnx.export:OnnxGraph", {"base": "base"}, "graph"),
    "int8": _onnx(8),
    "int4": _onnx(4),
    "toolchain": StageArm("scripts.backends.gguf.toolchain:Toolchain", {}, "toolchain"),
    "f16": StageArm(
        "scripts.backends.gguf.f16:F16Gguf",
        {"base": "base", "toolchain": "toolchain"},
        "f16.gguf",
        {"tokenizer_pre": PRE},
    ),
    "llama.cpp's f16": _CONVERTER,
    "q4_0": _gguf("q4_0"),
    "llama.cpp's q4_0": _llama_quantise("q4_0"),
    "q8_0": _gguf("q8_0"),
    "llama.cpp's q8_0": _llama_quantise("q8_0"),
    "genai's int4": _BUILDER,
}
