"""SHA-256 of files and folders, as sources are pinned by."""

import hashlib
from pathlib import Path


def sha256_of_file(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_folder(folder: Path) -> str:
    """The SHA-256 of the lines `<sha256>  <relative path>\\n` of all files, in order of the path.

    The lines are those of `sha256sum`, so that the digest can be had from a shell:
    `cd FOLDER && find . -type f -printf '%P\\n' | LC_ALL=C sort | xargs sha256sum | sha256sum`.
    """
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    files = sorted((name for name, path in paths.items() if path.is_file()), key=str.encode)
    lines = "".join(f"{sha256_of_file(paths[name])}  {name}\n" for name in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def git_blob_sha1(path: Path) -> str:
    """The object name that git gives a file, in hexadecimal (SHA-1 of `blob <size>\\0` + bytes)."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: digest).hexdigest()
