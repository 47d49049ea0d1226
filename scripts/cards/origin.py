"""What an artefact was made from and what came out, as the build keeps it."""

from pathlib import Path

from pydantic import JsonValue, ValidationError

from scripts.errors import QuantmakeError
from scripts.strict import Strict


class File(Strict):
    """One file of the artefact: its path in it, bytes, SHA-256 in hex."""

    path: str
    size: int
    sha256: str


class Origin(Strict):
    """The action key with its parts, and the files."""

    kind: str
    key: str
    parts: dict[str, JsonValue]
    files: tuple[File, ...]

    @property
    def stage(self) -> str:
        """The stage that made it, as `module:Class`."""
        return str(self.parts["stage"])

    def part(self, name: str) -> dict[str, JsonValue]:
        """One of the parts that are mappings; empty where it is none."""
        part = self.parts.get(name)
        return part if isinstance(part, dict) else {}


def read_origin(path: Path) -> Origin:
    """Raises QuantmakeError for what is no such record."""
    try:
        return Origin.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise QuantmakeError(f"{path} can't be read: {error.errors()[0]['msg']}") from None
