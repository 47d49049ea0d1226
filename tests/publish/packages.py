"""Packages of small files, as `pack` makes them."""

import hashlib
from pathlib import Path

from scripts.publish.package import SUMS, Package, Piece

FILES = {
    "README.md": b"---\nlicense: mit\n---\n# a card\n",
    "config.json": b"{}",
    "model.safetensors": bytes(range(256)) * 500,
    "onnx/model.onnx": b"onnx" * 1000,
}


def make_package(folder: Path, files: dict[str, bytes] | None = None) -> Package:
    """A package whose bytes lie in `folder`."""
    said = dict(FILES if files is None else files)
    said[SUMS] = b"".join(
        f"{hashlib.sha256(data).hexdigest()}  {name}\n".encode() for name, data in said.items()
    )
    pieces = []
    for name, data in said.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        pieces.append(Piece(name, path, len(data), hashlib.sha256(data).hexdigest()))
    return Package("model-int8", "Tiny, INT8", tuple(pieces))


def contents(package: Package) -> dict[str, bytes]:
    """The package's files by name."""
    return {piece.name: piece.path.read_bytes() for piece in package.files}
