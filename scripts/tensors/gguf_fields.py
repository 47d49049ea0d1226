"""The key-value fields of a GGUF file, with errors that name file and key."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import GGUFReader

from scripts.errors import QuantmakeError


@dataclass(frozen=True)
class Fields:
    """The fields of the file named `file`."""

    file: str
    reader: GGUFReader

    @classmethod
    def of(cls, path: Path) -> "Fields":
        """Raises QuantmakeError where it is no whole GGUF file."""
        try:
            return cls(path.name, GGUFReader(path))
        except (ValueError, IndexError, KeyError, OverflowError) as error:
            raise QuantmakeError(
                f"{path.name} is no GGUF file, or is cut short ({path.stat().st_size:,} bytes: "
                f"{error})"
            ) from error

    def get(self, key: str) -> Any:
        """The field's value, or None where the file has no such field."""
        field = self.reader.fields.get(key)
        return None if field is None else field.contents()

    def need(self, key: str) -> Any:
        """The field's value; raises QuantmakeError where the file has no such field."""
        value = self.get(key)
        if value is None:
            raise QuantmakeError(f"{self.file} lacks the field {key}, which an import needs")
        return value

    def text(self, key: str) -> str:
        """The value of a field that must be there and be a string."""
        value = self.need(key)
        if not isinstance(value, str):
            raise QuantmakeError(f"{self.file}: the field {key} is no string (found {value!r})")
        return value
