"""Decoding speed of an ONNX artefact beside optimum's FP32 export of its base, in one run.

    python -m scripts.benchmarks.decode_speed --int8 quantized/model-int8 --base cache/NAME/base

Both run in plain onnxruntime with the same token ids, lengths, threads and KV cache handling, in
turn, so that a busy machine slows both. Without `--optimum FOLDER` the base is exported first.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from scripts.errors import QuantmakeError
from scripts.evaluation.result import Spread
from scripts.runtimes.model import Model, available_cores, load_model

_SEED = 0
_SMALLEST_VOCABULARY = 512


def export_with_optimum(base: Path, out: Path) -> Path:
    """optimum's FP32 export with a KV cache, as its command line makes it without options."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "optimum.exporters.onnx", "--model", str(base)),
            *("--task", "text-generation-with-past", "--library", "transformers", str(out)),
        ],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if not (out / "model.onnx").is_file():
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:] or ["nothing"]
        raise QuantmakeError(f"optimum could not export {base}; it said: {last[0].strip()}")
    return out


def decode_once(model: Model, prompt: NDArray[np.int64], following: Sequence[int]) -> float:
    """Tokens per second of feeding `following` one by one after a prefill, which is not timed."""
    model.prefill(prompt)
    started = time.perf_counter()
    for token in following:
        model.decode(token)
    return len(following) / (time.perf_counter() - started)


def interleave(
    models: Mapping[str, Model], *, prompt: int, tokens: int, repeats: int
) -> dict[str, Spread]:
    """Decode `tokens` tokens after `prompt` ones, `repeats` times and a warm-up, in turn."""
    ids = np.random.default_rng(_SEED).integers(3, _SMALLEST_VOCABULARY, prompt + tokens)
    found: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(repeats + 1):
        for name, model in models.items():
            found[name].append(decode_once(model, ids[:prompt], ids[prompt:].tolist()))
    return {
        name: Spread(
            median=statistics.median(values[1:]),
            least=min(values[1:]),
            greatest=max(values[1:]),
            repeats=repeats,
        )
        for name, values in found.items()
    }


def table(speeds: Mapping[str, Spread], sizes: Mapping[str, int], caption: str) -> Table:
    """A row for each model; ratios are to the first one's median."""
    made = Table(title="Decoding, tokens per second", caption=caption)
    for column in ("model", "MB", "median", "least", "greatest", "ratio"):
        made.add_column(column, justify="left" if column == "model" else "right")
    first = next(iter(speeds.values())).median
    for name, speed in speeds.items():
        made.add_row(
            name,
            f"{sizes[name] / 1e6:.1f}",
            *(f"{value:.1f}" for value in (speed.median, speed.least, speed.greatest)),
            f"{speed.median / first:.2f}",
        )
    return made


def default_base() -> Path:
    """The base of the default recipe."""
    settings = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["quantmake"]
    return Path("cache", settings["recipe"], "base")


def run(arguments: argparse.Namespace, optimum: Path) -> Table:
    """Load both, measure, and return the table."""
    folders = {"optimum, FP32": optimum, str(arguments.int8): arguments.int8}
    context = arguments.prompt + arguments.tokens
    models = {
        name: load_model("onnxruntime", folder, threads=arguments.threads, context=context)
        for name, folder in folders.items()
    }
    speeds = interleave(
        models, prompt=arguments.prompt, tokens=arguments.tokens, repeats=arguments.repeats
    )
    sizes = {
        name: sum(path.stat().st_size for path in folder.glob("*.onnx*"))
        for name, folder in folders.items()
    }
    caption = (
        f"{arguments.tokens} tokens after {arguments.prompt}, {arguments.repeats} repeats after a "
        f"warm-up, {arguments.threads} threads"
    )
    return table(speeds, sizes, caption)


def main(given: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m scripts.benchmarks.decode_speed")
    parser.add_argument("--int8", type=Path, default=Path("quantized/model-int8"))
    parser.add_argument("--base", type=Path, help="default: the base of the default recipe")
    parser.add_argument("--optimum", type=Path, help="a folder that optimum has exported already")
    parser.add_argument("--prompt", type=int, default=32, help="tokens before the timing starts")
    parser.add_argument("--tokens", type=int, default=64, help="tokens that are timed")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=available_cores())
    arguments = parser.parse_args(given)
    try:
        with tempfile.TemporaryDirectory(prefix="decode-speed-") as scratch:
            optimum = arguments.optimum or export_with_optimum(
                arguments.base or default_base(), Path(scratch) / "optimum"
            )
            found = run(arguments, optimum)
    except QuantmakeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    Console().print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
