"""What a browser loads of an artefact: files by the names that a web site has them under."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Part:
    """`size` bytes of a file from `start` on."""

    path: Path
    start: int
    size: int


@dataclass(frozen=True)
class Layout:
    """The files of a folder by their paths in it; `dtype` is what the runtime calls their kind."""

    dtype: str
    files: dict[str, bytes | Part]

    @property
    def bytes(self) -> int:
        """What a browser downloads."""
        return sum(len(one) if isinstance(one, bytes) else one.size for one in self.files.values())
