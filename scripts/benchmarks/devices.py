"""What reads the whole base, on the processor and on a GPU: tokens a second.

    python -m scripts.benchmarks.devices [--size 1B] [--windows 8] [--devices cpu,cuda]

On a seeded model (`scripts.benchmarks.seeded_model`) and seeded tokens. The stages run once for
each device, starts of Python and of the GPU not counted.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from scripts.benchmarks.measure import table
from scripts.benchmarks.seeded_model import SIZES, write_seeded_model
from scripts.calibration.capture import Capture
from scripts.calibration.gradients import Gradients
from scripts.devices import Device, torch_device
from scripts.errors import QuantmakeError
from scripts.stage import Stage
from scripts.token_windows import write_windows

_SHARD, _CONTEXT = 2_000_000_000, 512


def _measured(size: str, windows: int, devices: Sequence[Device]) -> Iterator[tuple[str, ...]]:
    """The rows of the table."""
    with tempfile.TemporaryDirectory(prefix="devices-") as folder:
        scratch = Path(folder)
        base, calibration = scratch / "base", scratch / "calibration"
        for path in (base, calibration):
            path.mkdir()
        write_seeded_model(base, SIZES[size], _SHARD)
        tokens = np.random.default_rng(0).integers(1, 250, (windows, _CONTEXT), np.int32)
        write_windows(calibration, tokens)
        for stage in (Capture, Gradients):
            speeds = []
            for device in devices:
                torch_device(device)
                out = scratch / f"{stage.__name__}-{device}"
                out.mkdir()
                speeds.append(tokens.size / _seconds(stage(device=device), base, calibration, out))
            ratio = f"{speeds[-1] / speeds[0]:.1f}"
            yield (stage.__name__, *(f"{speed:,.0f}" for speed in speeds), ratio)


def _seconds(stage: Stage, base: Path, calibration: Path, out: Path) -> float:
    start = time.perf_counter()
    stage.run({"base": base, "calibration": calibration}, out)
    return time.perf_counter() - start


def main(given: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m scripts.benchmarks.devices")
    parser.add_argument("--size", choices=sorted(SIZES), default="1B")
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--devices", default="cpu,cuda", help="those to compare, by commas")
    arguments = parser.parse_args(given)
    chosen: list[Device] = []
    for one in arguments.devices.split(","):
        if one not in ("cpu", "cuda"):
            parser.error(f"--devices {one}: it can be cpu or cuda")
        chosen.append("cuda" if one == "cuda" else "cpu")
    try:
        rows = list(_measured(arguments.size, arguments.windows, chosen))
    except QuantmakeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    title = f"{arguments.size}, {arguments.windows} windows of {_CONTEXT}: tokens a second"
    Console().print(table(title, ("stage", *chosen, "ratio"), rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
