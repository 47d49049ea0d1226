"""What all cards of a recipe have in common."""

from pydantic import Field

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
