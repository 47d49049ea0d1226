"""What building a big model takes: time, memory and disk of each stage, beside `cp`.

    python -m scripts.benchmarks.big_models [--size 1B,3B] [--folder FOLDER] [--only import,nf4]

A seeded model is written first. Each stage, and each tool of others, then runs in a process of
its own. Its memory is the most that it had for itself (RssAnon of /proc/PID/status): files
that it maps do not count.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from scripts.benchmarks.arms import ARMS
from scripts.benchmarks.measure import table
from scripts.benchmarks.seeded_model import SIZES, write_seeded_model
from scripts.engine.build.sources import ROOT
from scripts.engine.run.memory import own_memory
from scripts.engine.store.files import remove

_BETWEEN_LOOKS_S = 0.02
_SHARE_OF_MEMORY = 0.85
_SAMPLE_BYTES = 128e6  # that bitsandbytes' own quantiser is timed on


@dataclass(frozen=True)
class Result:
    """One row: seconds, bytes of FP16 weights that went in, own memory and output in bytes."""

    name: str
    seconds: float
    read: float
    memory: int | None = None
    written: int | None = None


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def run_arm(name: str, folder: Path) -> Result:
    """Run one stage or tool; raises CalledProcessError, with its words, where it fails.

    One that takes nearly all memory of the machine is stopped, before the machine is.
    """
    arm, read = ARMS[name], size_of(model_in(folder))
    remove(folder / arm.out)
    command = [sys.executable, *arm.arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    began, peak = time.monotonic(), 0
    with (folder / "log").open("w+") as log:
        child = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        while child.poll() is None:
            peak = max(peak, own_memory(child.pid))
            if peak > _SHARE_OF_MEMORY * psutil.virtual_memory().total:
                child.kill()
                child.wait()
                return Result(f"{name}, stopped", time.monotonic() - began, read, peak)
            time.sleep(_BETWEEN_LOOKS_S)
        if child.returncode:
            log.seek(0)
            raise subprocess.CalledProcessError(child.returncode, command, log.read())
    seconds = time.monotonic() - began
    return Result(name, seconds, read, peak, size_of(folder / arm.out))


def model_in(folder: Path) -> Path:
    """The FP16 weights that are still there: the source, or the base that was made of it."""
    return folder / ("source" if (folder / "source").exists() else "base")


def copy_arm(folder: Path) -> list[Result]:
    """`cp` of the weights, and coreutils' SHA-256 of the copy, for scale."""
    began = time.monotonic()
    subprocess.run(["cp", "-r", model_in(folder), folder / "copy"], check=True)
    copied, size = time.monotonic(), size_of(folder / "copy")
    files = sorted((folder / "copy").iterdir())
    subprocess.run(["sha256sum", *files], check=True, stdout=subprocess.DEVNULL)
    hashed = time.monotonic()
    remove(folder / "copy")
    return [
        Result("cp", copied - began, size, written=size),
        Result("sha256sum", hashed - copied, size),
    ]


def bitsandbytes_arm() -> Result:
    """bitsandbytes' own NF4 quantiser on all cores, on a sample in memory."""
    import torch
    from bitsandbytes.functional import quantize_4bit

    sample = torch.randn(int(_SAMPLE_BYTES / 2 / 4096), 4096).mul_(0.02).half()
    quantize_4bit(sample[:16], quant_type="nf4")
    began = time.monotonic()
    quantize_4bit(sample, quant_type="nf4")
    seconds = time.monotonic() - began
    return Result("bitsandbytes' quantiser", seconds, sample.numel() * 2)


def table_of(results: list[Result], title: str) -> Table:
    """One row for each result."""
    columns = ("stage", "seconds", "MB/s of FP16", "own memory", "written")
    rows = (
        (
            one.name,
            f"{one.seconds:,.1f}",
            f"{one.read / one.seconds / 1e6:,.0f}",
            *("–" if n is None else f"{n / 1e9:.2f} GB" for n in (one.memory, one.written)),
        )
        for one in results
    )
    return table(title, columns, rows)


def measure(size: str, folder: Path, names: list[str]) -> list[Result]:
    """Write the model and run the stages, with `cp` before and after.

    What no later one reads is removed at once, so that a big model needs less of the disk.
    """
    (folder / "source").mkdir(parents=True)
    write_seeded_model(folder / "source", SIZES[size], 2_000_000_000)
    results = [*copy_arm(folder), bitsandbytes_arm()]
    for place, name in enumerate(names):
        results.append(run_arm(name, folder))
        later = {read for other in names[place + 1 :] for read in ARMS[other].reads}
        made = {"source", *(ARMS[done].out for done in names[: place + 1])}
        keep = {*later, model_in(folder).name if name != "import" else "base"}
        for out in made - keep:
            remove(folder / out)
    return [*results, *copy_arm(folder)]


def growth_table(sizes: dict[str, list[Result]]) -> Table:
    """Seconds for each GB of FP16, size by size: level where time grows with the bytes."""
    rows = (
        (row[0].name, *(f"{one.seconds / one.read * 1e9:.1f}" for one in row))
        for row in zip(*sizes.values(), strict=True)
    )
    return table("Seconds for each GB of FP16 weights", ("stage", *sizes), rows)


def main(arguments: list[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m scripts.benchmarks.big_models")
    parser.add_argument("--size", default="1B", help=f"one or more of {', '.join(SIZES)}")
    parser.add_argument("--folder", type=Path, help="where to work [default: a temporary folder]")
    parser.add_argument(
        "--only",
        default="import,nf4",
        help=f"stages and tools, each as often as it is named, of {', '.join(ARMS)}, or all",
    )
    parsed = parser.parse_args(arguments)
    names = list(ARMS) if parsed.only == "all" else parsed.only.split(",")
    sizes = parsed.size.split(",")
    for kind, given, known in (("stages", names, [*ARMS]), ("sizes", sizes, [*SIZES])):
        if unknown := [name for name in given if name not in known]:
            parser.error(f"unknown {kind}: {', '.join(unknown)}; there are {', '.join(known)}")
    results = {}
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=parsed.folder, prefix="big-model-") as folder:
            try:
                results[size] = measure(size, Path(folder), names)
            except subprocess.CalledProcessError as error:
                print(error.output, file=sys.stderr)
                return 1
        Console().print(table_of(results[size], f"Llama's shape, {size}"))
    if len(sizes) > 1:
        Console().print(growth_table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
