"""Decoding speed of an ONNX artefact beside optimum's FP32 export of its base, in one run.

    python -m scripts.benchmarks.decode_speed --int8 quantized/model-int8 --base cache/NAME/base

The export runs as its users run it, in `generate` of optimum's ORTModelForCausalLM, and a second
time in the bare loop over onnxruntime that the artefact runs in, so that what the weights gain and
what the loop gains stay apart. All take the same prompt, lengths and threads, in turn, so that a
busy machine slows all of them. Without `--optimum FOLDER` the base is exported first.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from scripts.backends.model import load_model
from scripts.backends.onnx.exporters import interpreter
from scripts.benchmarks import generate_speed
from scripts.benchmarks.measure import FIGURES, figures, in_turn, table
from scripts.errors import QuantmakeError
from scripts.recipe.load import default_name
from scripts.workers import available_cores

Decoder = Callable[[NDArray[np.int64], Sequence[int]], float]
_SEED = 0
_SMALLEST_VOCABULARY = 512


def export_with_optimum(base: Path, out: Path) -> Path:
    """optimum's FP32 export with a KV cache, as its command line makes it without options."""
    command = [
        *(str(interpreter()), "-m", "optimum.exporters.onnx", "--model", str(base)),
        *("--task", "text-generation-with-past", "--library", "transformers", str(out)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if not (out / "model.onnx").is_file():
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:] or ["nothing"]
        raise QuantmakeError(f"optimum could not export {base}; it said: {last[0].strip()}")
    return out


def optimum_decoder(folder: Path, threads: int) -> Decoder:
    """`generate` of optimum's class, greedy; it chooses its own tokens, as many as it is given. It
    runs in a process of its own, in optimum's environment, which ends with this one."""
    command = [str(interpreter()), "-m", generate_speed.__name__, str(folder), str(threads)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )

    def decode(prompt: NDArray[np.int64], following: Sequence[int]) -> float:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(
            json.dumps({"prompt": prompt.tolist(), "tokens": len(following)}) + "\n"
        )
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            raise QuantmakeError(f"optimum could not run {folder}: exit code {process.wait()}")
        return float(json.loads(answer))

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


def run(arguments: argparse.Namespace, optimum: Path) -> Table:
    """Load all, measure, and return a row for each; ratios are to the first one's median."""
    prompt, tokens, threads = arguments.prompt, arguments.tokens, arguments.threads
    int8, context = arguments.int8, prompt + tokens
    ids = np.random.default_rng(_SEED).integers(3, _SMALLEST_VOCABULARY, context)
    decoders = {
        "optimum's FP32 export, generate": (optimum, optimum_decoder(optimum, threads)),
        "… in the bare loop": (optimum, bare_decoder(optimum, threads, context)),
        str(int8): (int8, bare_decoder(int8, threads, context)),
    }
    arms = {
        name: partial(decode, ids[:prompt], ids[prompt:].tolist())
        for name, (_, decode) in decoders.items()
    }
    speeds = in_turn(arms, arguments.repeats)
    first = next(iter(speeds.values())).median
    rows = []
    for name, (folder, _) in decoders.items():
        size = sum(path.stat().st_size for path in folder.glob("*.onnx*")) / 1e6
        ratio = speeds[name].median / first
        rows.append((name, f"{size:.1f}", *figures(speeds[name], 1), f"{ratio:.2f}"))
    caption = (
        f"{tokens} tokens after {prompt}, {arguments.repeats} repeats after a warm-up, "
        f"{threads} threads"
    )
    columns = ("model", "MB", *FIGURES, "ratio")
    return table("Decoding, tokens per second", columns, rows, caption)


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
                arguments.base or Path("cache", default_name(), "base"), Path(scratch) / "optimum"
            )
            measured = run(arguments, optimum)
    except QuantmakeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    Console().print(measured)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
