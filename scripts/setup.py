"""Set up a checkout: `python3.11 -m scripts.setup` makes `.venv` with all that doit needs.

It needs nothing but Python's own library. llama-cpp-python comes first, since it is compiled
and so the one step that fails on a machine without a C++ compiler. Exit code 3 where the
machine lacks something.
"""

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import time
import tomllib
import venv
from pathlib import Path

PYTHON = (3, 11)
VENV = Path(".venv")
LOG = Path("cache/logs/setup.log")
_COMPILERS = ("c++", "g++", "clang++")
_LINES_SHOWN = 12


class SetupError(Exception):
    """What the machine lacks and what to do about it."""


def has_compiler() -> bool:
    """Whether a C++ compiler is on the PATH or named by CXX."""
    return any(shutil.which(name) for name in (os.environ.get("CXX", ""), *_COMPILERS) if name)


def requirement(name: str, project: Path = Path("pyproject.toml")) -> str:
    """The pinned requirement of a distribution, such as `llama-cpp-python==0.3.36`."""
    wanted = tomllib.loads(project.read_text())["project"]["dependencies"]
    return str(next(line for line in wanted if line.partition("==")[0] == name))


def make_venv() -> Path:
    """Make `.venv` where there is none; return its Python."""
    python = VENV / "bin" / "python"
    if sys.version_info[:2] != PYTHON:
        found = ".".join(map(str, sys.version_info[:2]))
        raise SetupError(
            f"this is Python {found}; the pinned packages need Python 3.11. Run python3.11 -m "
            "scripts.setup (Debian 12 has it as python3)."
        )
    if not python.exists():
        if importlib.util.find_spec("ensurepip") is None:
            raise SetupError(
                "this Python has no ensurepip, so it can't make a virtual environment with pip. "
                "On Debian: apt install python3.11-venv."
            )
        venv.create(VENV, with_pip=True)
    return python


def run(what: str, command: list[str]) -> None:
    """Run one step, its output to the log, a sign of life every half minute.

    Raises SetupError with the last lines where it fails.
    """
    LOG.parent.mkdir(parents=True, exist_ok=True)
    print(f"  … {what}", flush=True)
    started = time.monotonic()
    with LOG.open("a") as log:
        log.write(f"\n== {what}\n")
        log.flush()
        child = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        while True:
            try:
                code = child.wait(timeout=30)
                break
            except subprocess.TimeoutExpired:
                print(f"    {time.monotonic() - started:.0f} s …", flush=True)
    if code != 0:
        tail = "\n".join(f"  | {line}" for line in LOG.read_text().splitlines()[-_LINES_SHOWN:])
        raise SetupError(f"{what} failed with exit code {code}:\n{tail}\n(log: {LOG})")
    print(f"  ✓ {what}  ({time.monotonic() - started:.0f} s)", flush=True)


def install(python: Path, extra: str | None) -> None:
    """Install the project with its pinned packages into the virtual environment."""
    pip = [str(python), "-m", "pip", "install"]
    llama = requirement("llama-cpp-python")
    try:
        run(f"{llama}: 5 to 10 minutes of compiling, once", [*pip, llama])
    except SetupError:
        if has_compiler():
            raise
        raise SetupError(
            f"{llama} has to be compiled, and there is no C++ compiler on the PATH (looked for "
            f"{', '.join(_COMPILERS)} and $CXX). On Debian: apt install g++. Then run this again. "
            f"(log: {LOG})"
        ) from None
    project = f".[{extra}]" if extra else "."
    run("all other packages: 1 to 5 minutes", [*pip, "--editable", project])


def main() -> int:
    """Set up the checkout in the current folder."""
    parser = argparse.ArgumentParser(prog="python3.11 -m scripts.setup", description=__doc__)
    parser.add_argument("--extra", choices=["test", "dask", "lm-eval"], help="what else to install")
    arguments = parser.parse_args()
    try:
        install(make_venv(), arguments.extra)
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
