"""What a recipe says that the report and the cards repeat."""

from pathlib import PurePath

from pydantic import Field, JsonValue

from scripts.backends.format import ModelKind
from scripts.evaluation.budget import Budget
from scripts.sources.redact import redact
from scripts.strict import Strict


class Excerpt(Strict):
    """Lines `[first, end)` of a text."""

    text: str
    lines: tuple[int, int]


class Yardstick(Strict):
    """What everything was measured on: `windows` of `context` tokens of each text, of an encoder
    `sentences` of each. The texts are by their kinds, that of the calibration's kind first."""

    texts: dict[str, Excerpt]
    windows: int
    context: int
    sentences: int = 0


class Facts(Strict):
    """The model, and the rows of the report by their names.

    `labels` are for all rows; `baselines` starts with the FP16 base. `artifacts` holds the
    recipe's lines, defaults filled in, by the artefact's path below `folder`; `budgets` their
    limits. `off_grid` is the seed of the base's rescaling, None where there was none.
    `terms` explain the words of the labels.
    """

    model: str
    source: str
    recipe: str
    folder: str
    off_grid: int | None
    labels: dict[str, str]
    baselines: tuple[str, ...]
    artifacts: dict[str, dict[str, JsonValue]]
    budgets: dict[str, Budget] = Field(default_factory=dict)
    yardstick: Yardstick | None = None
    terms: dict[str, str] = Field(default_factory=dict)
    kind: ModelKind = "decoder"

    @property
    def source_name(self) -> str:
        """The source without credentials, and without the folders of this machine."""
        return public(self.source)


def public(source: str) -> str:
    """A source without credentials, and without the folders of this machine."""
    scheme, _, place = source.partition(":")
    if scheme == "path" and PurePath(place).is_absolute():
        return f"path:…/{PurePath(place).name}"
    return redact(source, source)
