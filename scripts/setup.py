"""Set up a checkout: `python3.11 -m scripts.setup` makes `.venv` with all that doit needs.

It needs nothing but Python's own library. Packages come by the digests of `pylock.toml`, with
extras by those of `pylock.all.toml` (`scripts/pins.py`); what can't be installed beside the others
gets an environment of its own, such as `.venv-mlx`. llama-cpp-python comes first, since it is
compiled and so the one step that fails on a machine without a C++ compiler. Exit code 3 where the
machine lacks something.
"""

import argparse
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import time
import tomllib
import venv
from collections.abc import Collection
from pathlib import Path

from scripts import pins
from scripts.extras import EVERYTHING, environment_folder, environments, extras

PYTHON = (3, 11)
VENV = Path(".venv")
LOG = Path("cache/logs/setup.log")
_INSTRUCTIONS = {
    "AVX": {"avx"},
    "AVX2": {"avx2"},
    "FMA": {"fma"},
    "F16C": {"f16c"},
    "BMI2": {"bmi2"},
    "AVX_VNNI": {"avx_vnni"},
    "AVX512": {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"},
    "AVX512_VBMI": {"avx512vbmi"},
    "AVX512_VNNI": {"avx512_vnni"},
    "AVX512_BF16": {"avx512_bf16"},
}
_COMPILED = "llama-cpp-python"
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


def llama_options(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """What llama.cpp is compiled for: this processor's instruction sets, but AMX.

    In virtual machines AMX is often announced and then refused, and llama.cpp, which takes it where
    it is announced, ends with an illegal instruction (seen on a Xeon of the fourth generation).
    """
    if platform.machine() != "x86_64":
        return []
    words = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    has = {option: "ON" if needs <= words else "OFF" for option, needs in _INSTRUCTIONS.items()}
    return ["-DGGML_NATIVE=OFF", *(f"-DGGML_{option}={value}" for option, value in has.items())]


def make_wheel(python: Path, llama: str) -> Path:
    """The compiled wheel of `llama`, a requirement with or without digests, as it was kept for the
    same options, or made now.

    pip's own cache can't tell wheels apart that were compiled with different options.
    """
    options = llama_options()
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "quantmake"
    folder = kept / hashlib.sha256(" ".join([llama, *options]).encode()).hexdigest()[:16]
    if not list(folder.glob("*.whl")):
        made = folder.with_name(f"{folder.name}.{os.getpid()}")
        command = [str(python), "-m", "pip", "wheel", "--no-deps", "--no-cache-dir"]
        cmake = " ".join([os.environ.get("CMAKE_ARGS", ""), *options]).strip()
        run(
            f"{llama.split(maxsplit=1)[0]}: 5 to 10 minutes of compiling, once",
            [*command, "--wheel-dir", str(made), "--requirement", str(listed(llama))],
            {**os.environ, "CMAKE_ARGS": cmake},
        )
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    return next(folder.glob("*.whl"))


def listed(*requirements: str) -> Path:
    """A file for pip's `--requirement`: digests can't stand on its command line."""
    file = LOG.with_name("requirements.txt")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{one}\n" for one in requirements))
    return file


def make_venv(folder: Path = VENV) -> Path:
    """Make a virtual environment where there is none; return its Python."""
    python = folder / "bin" / "python"
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
        venv.create(folder, with_pip=True)
    return python


def run(what: str, command: list[str], environment: dict[str, str] | None = None) -> None:
    """Run one step, its output to the log, a sign of life every half minute.

    Raises SetupError with the last lines where it fails.
    """
    LOG.parent.mkdir(parents=True, exist_ok=True)
    print(f"  … {what}", flush=True)
    started = time.monotonic()
    with LOG.open("a") as log:
        log.write(f"\n== {what}\n")
        log.flush()
        child = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
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


def install(python: Path, chosen: Collection[str]) -> None:
    """Install the project with its pinned packages, and those of the chosen extras, into the
    virtual environment."""
    pip = [str(python), "-m", "pip", "install"]
    by_digest = pins.pinned(pins.LOCKS[bool(chosen)]) if pins.apply_here() else {}
    llama = by_digest.pop(_COMPILED, requirement(_COMPILED))
    try:
        wheel = str(make_wheel(python, llama))
        run(llama.split()[0], [*pip, *["--no-deps"] * bool(by_digest), wheel])
    except SetupError:
        if has_compiler():
            raise
        raise SetupError(
            f"{llama.split()[0]} has to be compiled, and there is no C++ compiler on the PATH "
            f"(looked for {', '.join(_COMPILERS)} and $CXX). On Debian: apt install g++. Then run "
            "this again. "
            f"(log: {LOG})"
        ) from None
    project = f".[{','.join(chosen)}]" if chosen else "."
    if by_digest:
        install_by_digest(pip, by_digest)
        run("quantmake", [*pip, "--no-deps", "--editable", "."])
    else:
        print(f"  no lock is for {sys.platform} on {platform.machine()}: versions without digests")
        run("all other packages: 1 to 5 minutes", [*pip, "--editable", project])
    run("compiling kernels", [str(python), "-m", "scripts.methods.compile"])


def install_environment(name: str) -> None:
    """Make an environment beside `.venv`, with its packages by their digests."""
    pip = [str(make_venv(environment_folder(name, VENV))), "-m", "pip", "install"]
    if pins.apply_here():
        packages = listed(*pins.pinned(pins.lock_of(name)).values())
        pip += ["--no-deps", "--require-hashes"]
    else:
        packages = listed(*environments()[name])
    run(f"the environment {name}", [*pip, "--requirement", str(packages)])


def install_if_possible(name: str) -> None:
    """The same where nobody asked for it by name: not every platform has its packages."""
    try:
        install_environment(name)
    except SetupError as error:
        print(f"  ✗ the environment {name} is left out, and what needs it skipped: {error}")


def install_by_digest(pip: list[str], by_digest: dict[str, str]) -> None:
    """Each distribution as the lock names it, and no other. PyTorch's builds for CPUs are on no
    public index but its own, which is asked where the user's have none."""
    exactly = [*pip, "--no-deps", "--require-hashes"]
    torch = listed(by_digest.pop("torch"))
    try:
        run("torch", [*exactly, "--requirement", str(torch)])
    except SetupError:
        own = [*exactly, *pins.TORCH_ARGUMENTS]
        run("torch, from PyTorch's own index", [*own, "--requirement", str(torch)])
    others = listed(*by_digest.values())
    run("all other packages: 1 to 5 minutes", [*exactly, "--requirement", str(others)])


def main() -> int:
    """Set up the checkout in the current folder."""
    parser = argparse.ArgumentParser(prog="python3.11 -m scripts.setup", description=__doc__)
    names = [*environments(), *extras()]
    parser.add_argument(
        "--extra",
        dest="chosen",
        choices=names,
        action="append",
        default=[],
        help="what else to install; may stand several times",
    )
    chosen = parser.parse_args().chosen
    try:
        install(make_venv(), [name for name in chosen if name not in environments()])
        for name in environments():
            if name in chosen:
                install_environment(name)
            elif EVERYTHING in chosen:
                install_if_possible(name)
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
