"""What building a big model takes: time, memory and disk of each stage, beside `cp`.

    python -m scripts.benchmarks.big_models [--size 1B] [--folder FOLDER] [--only import,nf4]

A seeded model is written first. Each stage then runs in a process of its own. Its memory is the
greatest that it had for itself (RssAnon of /proc/PID/status): files that it maps do not count.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from scripts.benchmarks.seeded_model import SIZES, write_seeded_model
from scripts.engine.sources import ROOT

_BETWEEN_LOOKS_S = 0.02
_SAMPLE_BYTES = 128e6  # that bitsandbytes' own quantiser is timed on


@dataclass(frozen=True)
class Arm:
    """A stage and what it reads, by the names of earlier arms."""

    stage: str
    inputs: Mapping[str, str]
    options: Mapping[str, object]
    out: str


@dataclass(frozen=True)
class Result:
    """One row: seconds, bytes of FP16 weights that went in, own memory and output in bytes."""

    name: str
    seconds: float
    read: float
    memory: int | None
    written: int | None


ARMS = {
    "import": Arm("scripts.base.make_base:Base", {"source": "source"}, {}, "base"),
    "nf4": Arm(
        "scripts.formats.bitsandbytes_4bit:Bitsandbytes4bit",
        {"base": "base"},
        {"format": "bitsandbytes"},
        "nf4",
    ),
    "graph": Arm("scripts.intermediates.onnx_graph:OnnxGraph", {"base": "base"}, {}, "graph"),
    "int8": Arm(
        "scripts.formats.onnx_int8_weight_only:OnnxInt8WeightOnly",
        {"graph": "graph"},
        {"format": "onnx", "bits": 8, "method": "weight-only"},
        "int8",
    ),
    "int4": Arm(
        "scripts.formats.onnx_int4_rtn:OnnxInt4Rtn",
        {"graph": "graph"},
        {"format": "onnx", "bits": 4, "method": "rtn"},
        "int4",
    ),
    "toolchain": Arm("scripts.gguf_files.toolchain:Toolchain", {}, {}, "toolchain"),
    "f16": Arm(
        "scripts.gguf_files.f16:F16Gguf",
        {"base": "base", "toolchain": "toolchain"},
        {"tokenizer_pre": "gpt-2"},
        "f16.gguf",
    ),
    "q4_0": Arm(
        "scripts.formats.gguf_file:GgufFile",
        {"f16": "f16.gguf"},
        {"format": "gguf", "type": "q4_0"},
        "q4_0.gguf",
    ),
    "q8_0": Arm(
        "scripts.formats.gguf_file:GgufFile",
        {"f16": "f16.gguf"},
        {"format": "gguf", "type": "q8_0"},
        "q8_0.gguf",
    ),
}
DEFAULT = ("import", "nf4")


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def own_memory(pid: int) -> int:
    """Bytes that a process and those that it started have for themselves; 0 where it is gone."""
    import psutil

    try:
        process = psutil.Process(pid)
        family = [process.pid, *(child.pid for child in process.children(recursive=True))]
    except psutil.NoSuchProcess:
        return 0
    return sum(map(_own, family))


def _own(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    found = [line.split()[1] for line in lines if line.startswith("RssAnon:")]
    return int(found[0]) * 1024 if found else 0


def run_arm(name: str, folder: Path) -> Result:
    """Run one stage; raises CalledProcessError, with the stage's words, where it fails."""
    arm = ARMS[name]
    command = [sys.executable, "-m", "scripts.exec", arm.stage, "--out", str(folder / arm.out)]
    for key, place in arm.inputs.items():
        command += ["--in", f"{key}={folder / place}"]
    command += [f"{key}={value}" for key, value in arm.options.items()]
    began, peak = time.monotonic(), 0
    with (folder / f"{name}.log").open("w+") as log:
        child = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        while child.poll() is None:
            peak = max(peak, own_memory(child.pid))
            time.sleep(_BETWEEN_LOOKS_S)
        if child.returncode:
            log.seek(0)
            raise subprocess.CalledProcessError(child.returncode, command, log.read())
    seconds = time.monotonic() - began
    return Result(name, seconds, size_of(folder / "source"), peak, size_of(folder / arm.out))


def copy_arm(folder: Path) -> Result:
    """`cp` of the source, for scale."""
    began = time.monotonic()
    subprocess.run(["cp", "-r", folder / "source", folder / "copy"], check=True)
    seconds, size = time.monotonic() - began, size_of(folder / "copy")
    shutil.rmtree(folder / "copy")
    return Result("cp", seconds, size, None, size)


def bitsandbytes_arm() -> Result:
    """bitsandbytes' own NF4 quantiser on all cores, on a sample in memory."""
    import torch
    from bitsandbytes.functional import quantize_4bit

    sample = torch.randn(int(_SAMPLE_BYTES / 2 / 4096), 4096).mul_(0.02).half()
    quantize_4bit(sample[:16], quant_type="nf4")
    began = time.monotonic()
    quantize_4bit(sample, quant_type="nf4")
    seconds = time.monotonic() - began
    return Result("bitsandbytes' quantiser", seconds, sample.numel() * 2, None, None)


def table_of(results: list[Result], title: str) -> Table:
    """One row for each result."""
    table = Table(title=title)
    for column in ("stage", "seconds", "MB/s of FP16", "own memory", "written"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for one in results:
        table.add_row(
            one.name,
            f"{one.seconds:,.1f}",
            f"{one.read / one.seconds / 1e6:,.0f}",
            "–" if one.memory is None else f"{one.memory / 1e9:.2f} GB",
            "–" if one.written is None else f"{one.written / 1e9:.2f} GB",
        )
    return table


def measure(size: str, folder: Path, names: list[str]) -> list[Result]:
    """Write the model and run the stages, with `cp` before and after."""
    (folder / "source").mkdir(parents=True)
    write_seeded_model(folder / "source", SIZES[size], 2_000_000_000)
    before = [copy_arm(folder), bitsandbytes_arm()]
    return [*before, *(run_arm(name, folder) for name in names), copy_arm(folder)]


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.benchmarks.big_models")
    parser.add_argument("--size", choices=sorted(SIZES), default="1B")
    parser.add_argument("--folder", type=Path, help="where to work [default: a temporary folder]")
    parser.add_argument("--only", default=",".join(DEFAULT), help=f"stages, of {', '.join(ARMS)}")
    parsed = parser.parse_args(arguments)
    names = parsed.only.split(",")
    if unknown := [name for name in names if name not in ARMS]:
        parser.error(f"unknown stages: {', '.join(unknown)}; there are {', '.join(ARMS)}")
    with tempfile.TemporaryDirectory(dir=parsed.folder, prefix="big-model-") as folder:
        try:
            results = measure(parsed.size, Path(folder), names)
        except subprocess.CalledProcessError as error:
            print(error.output, file=sys.stderr)
            return 1
    Console().print(table_of(results, f"Llama's shape, {parsed.size}"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
