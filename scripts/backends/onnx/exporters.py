"""The exporters of last resort: older ones, in an environment of their own that is made when a
model needs it.

onnxruntime-genai's builder 0.11.4 and optimum know architectures that today's builder has dropped
or never had; both need a transformers of version 4. `pylock.exporters.toml` says what lies in
`.venv-exporters`, by digests.
"""

import fcntl
import hashlib
import shutil
import subprocess
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from scripts import pins
from scripts.errors import MachineError
from scripts.extras import PROJECT, environment_folder, groups
from scripts.sources.redact import redact

IN_NO_KEY = "it makes the environment that a lock names; its digest is an option of the graph"

GROUP = "exporters"
_STAMP = "lock.sha256"  # in the environment, once it is complete
_LOCK = PROJECT.parent / pins.lock_of(GROUP)


@cache
def lock_digest() -> str:
    """Of what the environment holds."""
    return hashlib.sha256(_LOCK.read_bytes()).hexdigest()


def interpreter(folder: Path | None = None) -> Path:
    """The environment's Python; the environment is made where there is none, or that of another
    lock. Processes that need it at one time wait for the first of them.

    Raises MachineError where it can't be made.
    """
    place = folder or environment_folder(GROUP)
    with _alone(place.with_name(f"{place.name}.lock")):
        stamp = place / _STAMP
        if not stamp.is_file() or stamp.read_text() != lock_digest():
            shutil.rmtree(place, ignore_errors=True)
            _make(place)
            stamp.write_text(lock_digest())
    return place / "bin" / "python"


def _make(place: Path) -> None:
    print(f"making {place.name}, with the older exporters that this model needs, once", flush=True)
    if pins.apply_here():
        listed, exactly = pins.pinned(_LOCK), ["--no-deps", "--require-hashes"]
        wanted = [*listed.values()]
    else:
        wanted, exactly = [*groups()[GROUP]], []
    venv.create(place, with_pip=True)
    requirements = place / "requirements.txt"
    requirements.write_text("".join(f"{one}\n" for one in wanted))
    command = [str(place / "bin" / "python"), "-m", "pip", "install", *exactly]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar=off"]
    command += ["--requirement", str(requirements)]
    done = _run(command)
    if done.returncode != 0:  # PyTorch's builds for CPUs are on no index but its own
        done = _run([*command, *pins.TORCH_ARGUMENTS])
    if done.returncode != 0:
        shutil.rmtree(place, ignore_errors=True)
        errors = " ".join(line for line in done.stderr.splitlines() if "ERROR" in line)
        raise MachineError(
            "onnxruntime-genai's builder can't export this model, and the environment of the older "
            f"exporters ({place.name}), which is made once, could not be made: pip can't install "
            f"what {_LOCK.name} lists. Look at the network and at pip's settings (pip config "
            "list), or take the artefacts with format onnx out of the recipe. pip said: "
            + redact(errors or done.stderr[-500:])
        )


def _run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
