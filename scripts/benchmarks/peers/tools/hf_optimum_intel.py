"""optimum-intel: the export to OpenVINO, with NNCF's compression of weights."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.benchmarks.peer import CPU_TORCH, Inputs, Peer, Scheme


def quantise(inputs: Inputs, out: Path, options: Mapping[str, Any]) -> None:
    """Export and compress by optimum's command line."""
    command = str(Path(sys.executable).with_name("optimum-cli"))
    model = ("--model", str(inputs["base"]), "--task", "text-generation-with-past")
    subprocess.run([command, "export", "openvino", *model, *options["flags"], str(out)], check=True)


def _scheme(name: str, ours: str, *flags: str) -> Scheme:
    return Scheme(
        name=name,
        call=f"optimum-cli export openvino --model base {' '.join(flags)} OUT",
        ours=ours,
        options={"flags": flags},
    )


_GROUPS = ("--group-size", "64", "--ratio", "1.0")
PEER = Peer(
    name="optimum-intel",
    packages=(
        *(CPU_TORCH, "optimum-intel==2.2.0", "nncf==3.4.0", "openvino==2026.4.1"),
        "openvino-tokenizers==2026.4.1.0",
    ),
    quantise=quantise,
    runtime="openvino",
    without=("torchvision",),  # without its build for CPUs no model loads, and texts need none
    schemes=(
        _scheme(
            "INT8, a scale for each row",
            "{format: openvino, bits: 8, method: rtn, block_size: 64}",
            *("--weight-format", "int8"),
        ),
        _scheme(
            "INT4, groups of 64",
            "{format: openvino, bits: 4, method: gptq, block_size: 64}",
            *("--weight-format", "int4", *_GROUPS),
        ),
    ),
)
