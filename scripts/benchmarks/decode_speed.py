"""Decoding speed of an ONNX artefact beside optimum's FP32 export of its base, in one run.

    python -m scripts.benchmarks.decode_speed --int8 quantized/model-int8 --base cache/NAME/base

The export runs as its users run it, in `generate` of optimum's ORTModelForCausalLM, and a second
time in the bare loop over onnxruntime that the artefact runs in, so that what the weights gain and
what the loop gains stay apart. All take the same prompt, lengths and threads, in turn, so that a
busy machine slows all of them. Without `--optimum FOLDER` the base is exported first.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from scripts.backends.model import load_model
from scripts.errors import QuantmakeError
from scripts.evaluation.result import Spread
from scripts.workers import available_cores

Decoder = Callable[[NDArray[np.int64], Sequence[int]], float]
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


class Clock:
    """A streamer of `generate`: when each token came, the prompt's call left out."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, _: object) -> None:
        """Called with the prompt, then with each token."""
        self.times.append(time.perf_counter())

    def end(self) -> None:
        """Called once after the last token."""


def optimum_decoder(folder: Path, threads: int) -> Decoder:
    """`generate` of optimum's class, greedy; it chooses its own tokens, as many as it is given."""
    import onnxruntime as ort
    import torch
    from optimum.onnxruntime import ORTModelForCausalLM

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    model = ORTModelForCausalLM.from_pretrained(folder, session_options=options)

    def decode(prompt: NDArray[np.int64], following: Sequence[int]) -> float:
        clock, count, ids = Clock(), len(following) + 1, torch.from_numpy(prompt)[None]
        model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            min_new_tokens=count,
            max_new_tokens=count,
            do_sample=False,
            streamer=clock,
        )
        _, first, *_, last = clock.times
        return len(following) / (last - first)

    return decode


def bare_decoder(folder: Path, threads: int, context: int) -> Decoder:
    """Feed the tokens one by one after a prefill, which is not timed."""
    model = load_model("onnx", folder, threads=threads, context=context)

    def decode(prompt: NDArray[np.int64], following: Sequence[int]) -> float:
        model.prefill(prompt)
        started = time.perf_counter()
        for token in following:
            model.decode(token)
        return len(following) / (time.perf_counter() - started)

    return decode


def interleave(
    decoders: Mapping[str, Decoder], *, prompt: int, tokens: int, repeats: int
) -> dict[str, Spread]:
    """Tokens per second of each, in turn, `repeats` times after a warm-up."""
    ids = np.random.default_rng(_SEED).integers(3, _SMALLEST_VOCABULARY, prompt + tokens)
    speeds: dict[str, list[float]] = {name: [] for name in decoders}
    for _ in range(repeats + 1):
        for name, decode in decoders.items():
            speeds[name].append(decode(ids[:prompt], ids[prompt:].tolist()))
    return {
        name: Spread(
            median=statistics.median(values[1:]),
            min=min(values[1:]),
            max=max(values[1:]),
            repeats=repeats,
        )
        for name, values in speeds.items()
    }


def table(speeds: Mapping[str, Spread], sizes: Mapping[str, int], caption: str) -> Table:
    """A row for each model; ratios are to the first one's median."""
    made = Table(title="Decoding, tokens per second", caption=caption)
    for column in ("model", "MB", "median", "min", "max", "ratio"):
        made.add_column(column, justify="left" if column == "model" else "right")
    first = next(iter(speeds.values())).median
    for name, speed in speeds.items():
        made.add_row(
            name,
            f"{sizes[name] / 1e6:.1f}",
            *(f"{value:.1f}" for value in (speed.median, speed.min, speed.max)),
            f"{speed.median / first:.2f}",
        )
    return made


def default_base() -> Path:
    """The base of the default recipe."""
    settings = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["quantmake"]
    return Path("cache", settings["recipe"], "base")


def run(arguments: argparse.Namespace, optimum: Path) -> Table:
    """Load all, measure, and return the table."""
    context, threads = arguments.prompt + arguments.tokens, arguments.threads
    folders = {
        "optimum's FP32 export, generate": optimum,
        "… in the bare loop": optimum,
        str(arguments.int8): arguments.int8,
    }
    decoders = dict(
        zip(
            folders,
            [
                optimum_decoder(optimum, threads),
                bare_decoder(optimum, threads, context),
                bare_decoder(arguments.int8, threads, context),
            ],
            strict=True,
        )
    )
    speeds = interleave(
        decoders, prompt=arguments.prompt, tokens=arguments.tokens, repeats=arguments.repeats
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
            measured = run(arguments, optimum)
    except QuantmakeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    Console().print(measured)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
