"""The JavaScript that runs an artefact: packages of npm, pinned, fetched by npm on first need."""

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scripts.errors import MachineError, QuantmakeError

CACHE = Path("cache/npm")
_PATIENCE_S = 600
_TIMES = "2"  # that npm tries again


@dataclass(frozen=True)
class Package:
    """`integrity` is npm's own: sha512- and base64. `files` are those that are kept, by their paths
    in the package; one that ends in a slash is a folder."""

    name: str
    version: str
    integrity: str
    files: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def folder(self) -> str:
        """A name for it in the cache: another version or choice of files has another."""
        chosen = hashlib.sha256("\n".join((self.integrity, *self.files)).encode()).hexdigest()
        return f"{PurePosixPath(self.name).name}-{self.version}-{chosen[:8]}"


TRANSFORMERS = Package(
    "@huggingface/transformers",
    "4.3.2",
    "sha512-V3+dqf3iWlRYJ9I9GreM3zGQd0lAXnnoPeddmkOQYWAEE4l/+Fi6p7tx/qVUJlKQgLXGim2W76rTOzz+eC0i7g==",
    ("dist/transformers.min.js",),
)
"""It holds the JavaScript of onnxruntime-web too, of the version below."""
ONNXRUNTIME = Package(
    "onnxruntime-web",
    "1.31.0-dev.20260914-8d85527a0",
    "sha512-Iy7rtadoBgxS/LLvDr3QW38DB1PNXRnr0GJMcL0TAt7c9qjgVQl83UlGCVyeAnK2InpmW8Uc3PL8XIuqtDeF6g==",
    ("dist/ort-wasm-simd-threaded.asyncify.mjs", "dist/ort-wasm-simd-threaded.asyncify.wasm"),
)
"""The build that transformers.js itself loads, for processors and for GPUs by WebGPU."""


def fetched(package: Package, cache: Path = CACHE) -> Path:
    """The folder with the files of a package; npm fetches it where it is not there yet.

    Raises MachineError where npm is missing or reaches no registry, QuantmakeError where what came
    is not what is pinned.
    """
    folder = cache / package.folder
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".npm-") as scratch:
            archive = _pack(package, Path(scratch))
            _refuse_other(package, archive)
            made = Path(scratch) / "made"
            _unpack(package, archive, made)
            if not folder.is_dir():  # another process may have been faster
                made.rename(folder)
    return folder


def refuse_without_npm(*packages: Package, cache: Path = CACHE) -> None:
    """Raises MachineError where a package is still to be fetched and npm is not there."""
    missing = [str(one) for one in packages if not (cache / one.folder).is_dir()]
    if missing and shutil.which("npm") is None:
        raise MachineError(
            f"npm, which fetches {' and '.join(missing)}, is not installed; install it with "
            "`apt install npm`"
        )


def _pack(package: Package, folder: Path) -> Path:
    """Fetch the package's archive, with the user's own settings of npm."""
    refuse_without_npm(package, cache=folder)
    command = ["npm", "pack", "--json", f"--fetch-retries={_TIMES}", "--pack-destination"]
    try:
        done = subprocess.run(
            [*command, str(folder.resolve()), str(package)],
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise MachineError(f"npm took over {_PATIENCE_S} s to fetch {package}") from None
    archives = list(folder.glob("*.tgz"))
    if done.returncode or len(archives) != 1:
        said = " ".join(line for line in done.stderr.splitlines() if line.startswith("npm error"))
        raise MachineError(
            f"npm could not fetch {package}; look at the network and npm's settings "
            f"(`npm config list`). npm said: {said or 'nothing'}"
        )
    return archives[0]


def _refuse_other(package: Package, archive: Path) -> None:
    with archive.open("rb") as file:
        found = base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
    if f"sha512-{found}" != package.integrity:
        raise QuantmakeError(
            f"npm fetched {package} with the integrity sha512-{found}, and {package.integrity} is "
            "pinned: the registry has other bytes under this name. Nothing of it was kept."
        )


def _unpack(package: Package, archive: Path, to: Path) -> None:
    """Keep the files of the package that are asked for; npm's archives have all in one folder."""
    kept = set()
    with tarfile.open(archive) as tar:
        for member in tar:
            path = member.name.partition("/")[2]
            wanted = [one for one in package.files if path == one or path.startswith(_folder(one))]
            if wanted and member.isreg() and ".." not in PurePosixPath(path).parts:
                (to / path).parent.mkdir(parents=True, exist_ok=True)
                source = tar.extractfile(member)
                assert source is not None
                with source, (to / path).open("xb") as file:
                    shutil.copyfileobj(source, file)
                kept.update(wanted)
    absent = sorted(set(package.files) - kept)
    if absent:
        raise QuantmakeError(f"{package} has no {', '.join(absent)}")


def _folder(path: str) -> str:
    return path if path.endswith("/") else f"{path}/"
