"""llama.cpp's own converter, from the source distribution of the installed llama-cpp-python."""

import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from scripts.errors import MachineError, QuantmakeError, RecipeError
from scripts.sources.redact import redact
from scripts.stage import Stage

PACKAGE = "llama-cpp-python"
VERSION = "0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
_FOLDER = "/vendor/llama.cpp/"
_FILES = ("convert_hf_to_gguf.py", "LICENSE")
_FOLDERS = ("conversion/", "gguf-py/")


class Toolchain(Stage):
    """Fetch llama.cpp's converter: never out of step with the runtime that loads its files.

    `sha256` pins the source distribution of llama-cpp-python `version`, which has to be the
    installed one. `out` receives convert_hf_to_gguf.py, conversion/, gguf-py/ and LICENSE.
    """

    version: str = VERSION
    sha256: str = SHA256

    shared = False

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises RecipeError for another version, MachineError where pip can't fetch it."""
        try:
            installed = metadata.version(PACKAGE)
        except metadata.PackageNotFoundError:
            raise MachineError(
                f"{PACKAGE} is not installed. It is compiled from source, so it needs a C++ "
                "compiler (apt install g++); then run python3.11 -m scripts.setup again."
            ) from None
        if installed != self.version:
            raise RecipeError(
                f"{PACKAGE} {installed} is installed, but the converter is pinned to "
                f"{self.version}: keep them in step. Set VERSION and SHA256 in "
                "scripts/backends/gguf/toolchain.py to those of the installed version's source "
                "distribution, or install the pinned version."
            )
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".pip-") as scratch:
            unpack(download(self.version, self.sha256, Path(scratch)), out)

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """The converter and its gguf-py are there."""
        wanted = ("convert_hf_to_gguf.py", "conversion/base.py", "gguf-py/gguf/__init__.py")
        missing = [name for name in wanted if not (out / name).is_file()]
        if missing:
            raise QuantmakeError(
                f"the source of {PACKAGE} {self.version} has no {', '.join(missing)} below "
                "vendor/llama.cpp: llama.cpp has moved its converter. Go back to a version that "
                "has it, or teach scripts/backends/gguf/toolchain.py the new place."
            )


def download(version: str, sha256: str, folder: Path) -> Path:
    """Fetch the source distribution with pip, under the user's own pip settings.

    pip asks a source distribution for its metadata, which runs its build script; it compares the
    digest first. Raises QuantmakeError where that differs, MachineError where pip can't fetch.
    """
    pinned = folder / "requirements.txt"
    pinned.write_text(f"{PACKAGE}=={version} --hash=sha256:{sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary=:all:"]
    quiet = ["--no-input", "--disable-pip-version-check", "--progress-bar=off"]
    done = subprocess.run(
        [*command, *quiet, "--require-hashes", "--dest", str(folder), "--requirement", str(pinned)],
        capture_output=True,
        text=True,
        check=False,
    )
    archives = list(folder.glob("*.tar.gz"))
    if done.returncode == 0 and len(archives) == 1:
        return archives[0]
    differs = re.search(r"Got +([0-9a-f]{64})", done.stderr)
    if differs:
        raise QuantmakeError(
            f"the source of {PACKAGE} {version}: the digest differs. sha256 {sha256} is pinned, "
            f"but what was fetched has {differs[1]}. Nothing of it was run or kept; find out why "
            "before you write the new digest into scripts/backends/gguf/toolchain.py."
        )
    errors = " ".join(line for line in done.stderr.splitlines() if "ERROR" in line)
    raise MachineError(
        f"pip can't fetch the source of {PACKAGE} {version}, which holds llama.cpp's converter; "
        "look at the network and at pip's settings (pip config list). pip said: "
        + redact(errors or done.stderr[-500:])
    )


def unpack(archive: Path, out: Path) -> None:
    """Take the converter out of the archive, once every member of it is known to stay in `out`.

    Raises QuantmakeError that names each member that would leave it.
    """
    wanted: list[tarfile.TarInfo] = []
    outside: list[str] = []
    with tarfile.open(archive) as tar:
        for member in tar:
            _, _, below = member.name.partition(_FOLDER)
            if below not in _FILES and not below.startswith(_FOLDERS):
                continue
            try:
                wanted.append(tarfile.data_filter(member.replace(name=below), str(out)))
            except tarfile.FilterError:
                outside.append(member.name)
        if outside:
            raise QuantmakeError(
                f"{archive.name}: these members would be written outside their folder: "
                f"{', '.join(outside)}. Nothing was unpacked."
            )
        for member in wanted:
            tar.extract(member, out, filter="data")
