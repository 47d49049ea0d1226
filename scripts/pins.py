"""The locks of packages (PEP 751): every distribution with its digests.

`pylock.toml` has what building needs, `pylock.all.toml` all extras, `pylock.NAME.toml` an
environment beside `.venv`, such as `mlx` and `exporters`. After a change in pyproject.toml,
`python -m scripts.pins` writes all anew by uv, `python -m scripts.pins NAME` that of an
environment; arguments are handed on to uv, and without a NAME they are of the first two. The locks
are for CPython 3.11 on Linux x86-64, with PyTorch's builds for CPUs.
"""

import platform
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from scripts.extras import groups

IN_NO_KEY = "it writes and reads locks of packages; those of a stage are in its key by version"

LOCKS = {False: Path("pylock.toml"), True: Path("pylock.all.toml")}
"""By whether there are extras."""

TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
TORCH_ARGUMENTS = ("--extra-index-url", TORCH_INDEX)
_UV = (
    *(sys.executable, "-m", "uv", "pip", "compile", "--no-header", "--format", "pylock.toml"),
    *("--python-version", "3.11"),
)
_CPU = ("--torch-backend", "cpu")
_OF_A_FOLDER = re.compile(r'"file://[^"]*/(torch-[^"/]*)"')


def apply_here() -> bool:
    """Whether the locks are for this machine."""
    machine = sys.platform, platform.machine(), platform.python_implementation()
    return machine == ("linux", "x86_64", "CPython")


def lock_of(environment: str) -> Path:
    """The lock of an environment beside `.venv`."""
    return Path(f"pylock.{environment}.toml")


def pinned(lock: Path) -> dict[str, str]:
    """By name the requirement of each distribution, as pip's `--require-hashes` wants it."""
    packages = tomllib.loads(lock.read_text())["packages"]
    return {entry["name"]: _requirement(entry) for entry in packages}


def _requirement(entry: dict[str, Any]) -> str:
    files = [*entry.get("wheels", []), *([entry["sdist"]] if "sdist" in entry else [])]
    digests = sorted({file["hashes"]["sha256"] for file in files})
    return " ".join(
        [f"{entry['name']}=={entry['version']}", *(f"--hash=sha256:{one}" for one in digests)]
    )


def renew(arguments: list[str]) -> None:
    """Write both locks; raises CalledProcessError where uv finds no versions that fit."""
    for extras, lock in reversed(LOCKS.items()):
        # The smaller one takes its versions from the larger one.
        platform_of = ("--python-platform", "x86_64-manylinux_2_28")
        command = [*_UV, "pyproject.toml", *platform_of, "--output-file", str(lock), *arguments]
        if extras:
            command.append("--all-extras")
        else:
            command += ["--constraints", str(_versions(LOCKS[True]))]
        subprocess.run(command, check=True)
        _name_no_folder(lock)


def renew_environment(name: str, arguments: list[str]) -> None:
    """Write the lock of an environment; MLX has wheels for glibc 2.35 and later."""
    platform_of = ("--python-platform", "x86_64-manylinux_2_35")
    lock = lock_of(name)
    command = [*_UV, "--group", name, *platform_of, "--output-file", str(lock), *arguments]
    subprocess.run(command, check=True)
    _name_no_folder(lock)


def _name_no_folder(lock: Path) -> None:
    """A wheel of PyTorch that lies in a folder here lies on PyTorch's own index for everybody."""
    text = _OF_A_FOLDER.sub(lambda found: f'"{_public(found[1])}"', lock.read_text())
    lock.write_text(text)


def _versions(lock: Path) -> Path:
    out = Path("cache/versions.txt")
    out.parent.mkdir(exist_ok=True)
    out.write_text("".join(f"{line.split()[0]}\n" for line in pinned(lock).values()))
    return out


def _public(file: str) -> str:
    return f"{TORCH_INDEX}/{file.replace('+', '%2B')}"


if __name__ == "__main__":
    first, *others = sys.argv[1:] or [""]
    if first in groups():
        renew_environment(first, others or [*_CPU])
    else:
        renew(sys.argv[1:] or [*_CPU])
    if not first:
        for one in groups():
            renew_environment(one, [*_CPU])
