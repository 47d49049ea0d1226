"""The gate before quantising: a float model that does not predict what the base does stays out."""

import os
import subprocess
import sys
from pathlib import Path

from scripts.backends.table import BACKENDS
from scripts.environment import stage_environment
from scripts.errors import MachineError

IN_NO_KEY = "it looks at what was made; the bytes are those of the exporter"

ERROR = "error: "


DECODERS, ENCODERS = "scripts.backends.parity", "scripts.backends.encoder_parity"


def disagreement(backend: str, files: Path, base: Path, gate: str = DECODERS) -> str:
    """Why nothing may be quantised from the float model in `files`; empty where it agrees with the
    base. It is found in a process of its own, which computes as fast as the libraries can: the
    module `gate`.

    Raises MachineError where that ends without an answer.
    """
    done = subprocess.run(
        [sys.executable, "-m", gate, backend, str(files), str(base)],
        env={**stage_environment(os.environ, canonical=False), "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    print(done.stdout, end="", flush=True)
    if done.returncode == 0:
        return ""
    _, known, reason = done.stdout.rpartition(ERROR)
    if not known:
        raise MachineError(
            f"comparing {BACKENDS[backend].float_model.label} with the base ended with code "
            f"{done.returncode} and no answer; where it was killed, memory ran out. The task's log "
            "has what it said."
        )
    return reason.strip()
