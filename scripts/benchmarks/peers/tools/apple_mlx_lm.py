"""mlx-lm, by MLX's build for CPUs."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.benchmarks.peer import CPU_TORCH, Inputs, Peer, Scheme


def quantise(inputs: Inputs, out: Path, options: Mapping[str, Any]) -> None:
    """`mlx_lm.convert`, which makes the folder by itself."""
    out.rmdir()
    command = (sys.executable, "-m", "mlx_lm", "convert", "--hf-path", str(inputs["base"]))
    subprocess.run([*command, "--mlx-path", str(out), "-q", *options["flags"]], check=True)


def _scheme(name: str, ours: str, *flags: str) -> Scheme:
    call = f"mlx_lm.convert --hf-path base -q {' '.join(flags)}"
    return Scheme(name=name, call=call, ours=ours, options={"flags": flags})


PEER = Peer(
    name="mlx-lm",
    packages=(CPU_TORCH, "mlx-lm[cpu]==0.32.2", "mlx==0.32.4", "transformers==5.17.0"),
    quantise=quantise,
    runtime="scripts.benchmarks.peers.runtimes:mlx",
    schemes=(
        _scheme(
            "4 bits, groups of 64",
            "{format: mlx, bits: 4, method: gptq, head_bits: 4}",
            *("--q-bits", "4", "--q-group-size", "64"),
        ),
        _scheme(
            "8 bits, groups of 64",
            "{format: mlx, bits: 8, method: gptq}",
            *("--q-bits", "8", "--q-group-size", "64"),
        ),
    ),
)
