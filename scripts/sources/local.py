"""`path:` sources: a file, or a Hugging Face folder, on this machine."""

from pathlib import Path

from scripts.errors import QuantmakeError
from scripts.progress import track
from scripts.sources.model_files import needed_files
from scripts.sources.place import place
from scripts.sources.schemes import parse_path


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
