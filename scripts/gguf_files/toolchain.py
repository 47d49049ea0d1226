"""llama.cpp's own converter, from the source distribution of the installed llama-cpp-python."""

import hashlib
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
_FOLDER = "vendor/llama.cpp/"
_WANTED = ("convert_hf_to_gguf.py", "conversion/", "gguf-py/", "LICENSE")


class Toolchain(Stage):
    """Fetch llama.cpp's converter: never out of step with the runtime that loads its files.

    `sha256` pins the source distribution of llama-cpp-python `version`, which has to be the
    installed one. `out` receives convert_hf_to_gguf.py, conversion/, gguf-py/ and LICENSE.
    """

    version: str = VERSION
    sha256: str = SHA256

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
                f"{PACKAGE} {installed} is installed, but the converter's version is pinned to "
                f"{self.version}; set VERSION and SHA256 in scripts/gguf_files/toolchain.py to "
                "those of the installed version's source distribution"
            )
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".pip-") as scratch:
            archive = download(f"{PACKAGE}=={self.version}", Path(scratch))
            check_digest(archive, self.sha256)
            unpack(archive, out)

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """The converter and its gguf-py are there."""
        for name in ("convert_hf_to_gguf.py", "gguf-py/gguf/__init__.py"):
            if not (out / name).is_file():
                raise QuantmakeError(f"the source of {PACKAGE} {self.version} has no {name}")


def download(requirement: str, folder: Path) -> Path:
    """Fetch a source distribution with pip, under the user's own pip settings."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary=:all:"]
    quiet = ["--no-input", "--disable-pip-version-check", "--progress-bar=off"]
    done = subprocess.run(
        [*command, *quiet, "--dest", str(folder), requirement],
        capture_output=True,
        text=True,
        check=False,
    )
    found = list(folder.glob("*.tar.gz"))
    if done.returncode != 0 or len(found) != 1:
        errors = [line for line in done.stderr.splitlines() if "ERROR" in line]
        said = redact(" ".join(errors) or done.stderr[-500:])
        raise MachineError(
            f"pip can't fetch the source of {requirement}; look at the network and at pip's "
            f"settings (pip config list). pip said: {said}"
        )
    return found[0]


def check_digest(archive: Path, sha256: str) -> None:
    """Raise QuantmakeError where the archive is not the pinned one."""
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise QuantmakeError(
            f"{archive.name}: the digest differs. sha256 {sha256} is pinned, but what was fetched "
            f"has {found}. Nothing of it was run; find out why before you write the new digest."
        )


def unpack(archive: Path, out: Path) -> None:
    """Take the converter out of the archive; raises QuantmakeError for a member that leaves it."""
    with tarfile.open(archive) as tar:
        for member in tar:
            _, found, below = member.name.partition(_FOLDER)
            if not (found and below.startswith(_WANTED)):
                continue
            try:
                safe = tarfile.data_filter(member.replace(name=below), str(out))
            except tarfile.FilterError as error:
                raise QuantmakeError(f"{archive.name}: {error}; nothing of it was kept") from None
            tar.extract(safe, out, filter="data")
