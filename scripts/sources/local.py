"""`path:` sources, a file or a Hugging Face folder on this machine; and how files are copied."""

import fcntl
import shutil
from pathlib import Path

from scripts.errors import QuantmakeError
from scripts.progress import track
from scripts.sources.model_files import needed_files
from scripts.sources.schemes import parse_path

_FICLONE = 0x40049409  # linux/fs.h: _IOW(0x94, 9, int)


def place(source: Path, target: Path) -> None:
    """Write the bytes of `source` to the new file `target`; they share the disk's blocks where the
    file system can (btrfs, XFS).

    Never a hard link: the user may edit `source` in place later.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as original, target.open("xb") as copy:
        try:
            fcntl.ioctl(copy.fileno(), _FICLONE, original.fileno())
        except OSError:
            shutil.copyfileobj(original, copy, 1 << 22)


def fetch(source: str, out: Path, code: bool) -> None:
    """Copy the file, or the needed files of the folder, into `out`."""
    path = parse_path(source)
    if not path.exists():
        raise QuantmakeError(
            f"{source}: there is no such file or folder; the path is relative to {Path.cwd()}"
        )
    if path.is_file():
        place(path, out / path.name)
        return
    names = [entry.name for entry in path.iterdir() if entry.is_file()]
    for name in track(needed_files(names, source, code=code), "copying"):
        place(path / name, out / name)
