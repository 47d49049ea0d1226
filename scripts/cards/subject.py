"""What cards are of: the recipe's facts, and what the build keeps of an artefact's origin."""

from pathlib import Path

from pydantic import Field, JsonValue, ValidationError

from scripts.errors import QuantmakeError
from scripts.report.facts import Facts
from scripts.strict import Strict


class CardFacts(Strict):
    """What a model card says that can't be measured; a section of the recipe."""

    base_model: str | None = Field(
        default=None, description="the base's name on the hub, ORG/NAME; known for hf: sources"
    )
    license: str | None = Field(default=None, description="as the hub writes it: apache-2.0")
    language: tuple[str, ...] = Field(default=(), description="ISO 639-1 codes, such as en")
    quantized_by: str | None = Field(default=None, description="who publishes the artefacts")
    tags: tuple[str, ...] = Field(default=(), description="further tags for the hub")


class Subject(Facts):
    """The model and the recipe that cards are of."""

    card: CardFacts

    @property
    def base_model(self) -> str | None:
        """The base's name on the hub, where it is known."""
        if self.card.base_model or not self.source.startswith("hf:"):
            return self.card.base_model
        return self.source.removeprefix("hf:").partition("@")[0]


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
