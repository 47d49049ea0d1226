"""How fast methods round a linear, and what they lose, by grid and size.

    python -m scripts.benchmarks.methods [--size 2048x2048,576x1536] [--only gptq]

A seeded weight and the Hessian of seeded inputs of a low rank, as activations have it. All arms
take turns. MB are of FP16 weights; one factorisation of the Hessian is in each GPTQ figure, and
`factor` shows it by itself. llama.cpp's and bitsandbytes' own rounding stand beside ours.
"""

import argparse
import ctypes
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from scripts.backends.bitsandbytes import gptq as nf4
from scripts.backends.bitsandbytes.rtn import rtn as nf4_rtn
from scripts.backends.gguf.blocks import BLOCK_TYPES, DAMPING, NESTED
from scripts.benchmarks.measure import FIGURES, figures, in_turn, table
from scripts.methods.block_grid import Rounded
from scripts.methods.gptq import Factor, factor, gptq
from scripts.methods.integer_gptq import integer_gptq
from scripts.methods.integer_grid import GridOptions
from scripts.methods.rtn import rtn
from scripts.workers import available_cores, single_core_workers

_RANK, _TOKENS = 0.25, 3  # of the inputs: share of the width, and times the width
_TYPES = ("q4_0", "iq4_nl", "q4_k", "q6_k", "q8_0")
Arm = Callable[[], Any]


class _Nf4:
    """What `model-int4` of the default recipe asks for."""

    quant_type, block_size, double_quant = "nf4", 64, True
    damping, on_unsupported = DAMPING, "error"

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds


def made(rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight [rows, columns] and H [columns, columns]."""
    generator = torch.Generator().manual_seed(0)
    rank, tokens = max(int(_RANK * columns), 1), _TOKENS * columns
    mix = torch.randn(rank, columns, generator=generator)
    inputs = torch.randn(tokens, rank, generator=generator) @ mix / rank**0.5
    inputs += 0.1 * torch.randn(tokens, columns, generator=generator)
    weight = torch.randn(rows, columns, generator=generator) * 0.05
    return weight, inputs.T @ inputs / tokens


def _llama(weight: torch.Tensor, kind: str) -> None:
    """llama.cpp's own rounding, by ggml_quantize_chunk of its library, on one core."""
    import llama_cpp

    library = ctypes.CDLL(str(Path(llama_cpp.__file__).parent / "lib" / "libggml-base.so"))
    rows, columns = weight.shape
    out = np.empty(weight.numel() * 2, np.uint8)
    run = library.ggml_quantize_chunk
    run.argtypes = [
        *(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p),
        *(ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p),
    ]
    run.restype = ctypes.c_size_t
    pointers = weight.numpy().ctypes.data, out.ctypes.data
    run(int(BLOCK_TYPES[kind].type), *pointers, 0, rows, columns, None)


def arms(weight: torch.Tensor, hessian: torch.Tensor, pool: ThreadPoolExecutor) -> dict[str, Arm]:
    """By name what is timed."""
    half, width = weight.half(), weight.shape[1]

    def share(sizes: tuple[int, ...]) -> Factor:
        return factor(hessian, sizes, DAMPING)

    def blocks(kind: str, rounds: int) -> Rounded:
        grid = BLOCK_TYPES[kind].grid
        return gptq(weight, share(NESTED), grid, rounds=rounds, run=pool.map)

    named: dict[str, Arm] = {"factor": partial(share, NESTED)}
    for rounds in (0, 2):
        for symmetric in (False, True):
            options = GridOptions(4, 32, symmetric)
            name = f"gptq, {rounds} rounds → INT4 blocks{', symmetric' * symmetric}"
            named[name] = lambda o=options, r=rounds: integer_gptq(  # type: ignore[misc]
                weight, share((32,)), o, rounds=r
            )
        named[f"gptq, {rounds} rounds → NF4"] = lambda r=rounds: nf4.gptq(  # type: ignore[misc]
            half, share((64,)), _Nf4(r)
        )
        for kind in _TYPES:
            if width % BLOCK_TYPES[kind].grid.columns == 0:
                named[f"gptq, {rounds} rounds → {kind}"] = partial(blocks, kind, rounds)
    named["rtn → INT4 blocks"] = lambda: rtn(weight, GridOptions(4, 32, symmetric=False))
    named["rtn → NF4 (bitsandbytes' grid, our loop)"] = lambda: nf4_rtn(half, _Nf4(0))
    named["bitsandbytes' quantize_4bit → NF4"] = lambda: _bitsandbytes(half)
    for kind in _TYPES:
        if width % BLOCK_TYPES[kind].grid.columns == 0:
            named[f"llama.cpp's own → {kind}"] = partial(_llama, weight, kind)
    return named


def _bitsandbytes(weight: torch.Tensor) -> None:
    from bitsandbytes.functional import quantize_4bit

    quantize_4bit(weight, quant_type="nf4", blocksize=64, compress_statistics=True)


def _timed(arm: Arm, megabytes: float) -> float:
    """MB a second."""
    start = time.perf_counter()
    arm()
    return megabytes / (time.perf_counter() - start)


def _tables(sizes: Sequence[tuple[int, int]], only: str, repeats: int) -> Iterator[Table]:
    cores = available_cores()
    with single_core_workers(cores) as pool, torch.inference_mode():
        for rows, columns in sizes:
            weight, hessian = made(rows, columns)
            chosen = {
                name: partial(_timed, arm, weight.numel() * 2 / 1e6)
                for name, arm in arms(weight, hessian, pool).items()
                if only in name
            }
            speeds = in_turn(chosen, repeats)
            lines = [(name, *figures(speed, 1)) for name, speed in speeds.items()]
            caption = f"{repeats} repeats after a warm-up; GGUF's blocks on {cores} cores, others 1"
            title = f"{rows} × {columns}: MB of FP16 weights a second"
            yield table(title, ("method", *FIGURES), lines, caption)


def main(given: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m scripts.benchmarks.methods")
    parser.add_argument("--size", default="576x1536,2048x2048", help="ROWSxCOLUMNS, by commas")
    parser.add_argument("--only", default="", help="methods whose name contains this")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args(given)
    sizes = []
    for one in arguments.size.split(","):
        rows, _, columns = one.partition("x")
        if not (rows.isdigit() and columns.isdigit()) or int(columns) % 64:
            parser.error(f"--size {one}: ROWSxCOLUMNS is wanted, and 64 has to divide COLUMNS")
        sizes.append((int(rows), int(columns)))
    for one in _tables(sizes, arguments.only, arguments.repeats):
        Console().print(one)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
