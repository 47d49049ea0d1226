"""What all cards of a recipe have in common."""

from pathlib import PurePath

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from scripts.sources.redact import redact


class CardFacts(BaseModel):
    """What a model card says that can't be measured; a section of the recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_model: str | None = Field(
        default=None, description="the base's name on the hub, ORG/NAME; known for hf: sources"
    )
    license: str | None = Field(default=None, description="as the hub writes it: apache-2.0")
    language: tuple[str, ...] = Field(default=(), description="ISO 639-1 codes, such as en")
    quantized_by: str | None = Field(default=None, description="who publishes the artefacts")
    tags: tuple[str, ...] = Field(default=(), description="further tags for the hub")


class Subject(BaseModel):
    """The model and the recipe that cards are of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    source: str
    recipe: str
    artifacts: dict[str, dict[str, JsonValue]]
    card: CardFacts

    @property
    def base_model(self) -> str | None:
        """The base's name on the hub, where it is known."""
        if self.card.base_model or not self.source.startswith("hf:"):
            return self.card.base_model
        return self.source.removeprefix("hf:").partition("@")[0]

    @property
    def source_name(self) -> str:
        """The source without credentials, and without the folders of this machine."""
        scheme, _, place = self.source.partition(":")
        if scheme == "path" and PurePath(place).is_absolute():
            return f"path:…/{PurePath(place).name}"
        return redact(self.source, self.source)
