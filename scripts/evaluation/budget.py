"""Budgets: what an artefact may cost and must gain; which were broken, and what that rules out."""

from typing import Annotated

from pydantic import ByteSize, Field, model_validator

from scripts.strict import Strict

_Positive = Annotated[float, Field(gt=0)]


class Budget(Strict):
    """Limits of one artefact; those left out are not looked at.

    Speedups are against the float model in the same runtime, in the same run.
    """

    # A name is `max_` or `min_` and the key of one of the measures of the report.
    max_kld: _Positive | None = Field(None, description="mean KL divergence from FP16, in nats")
    min_top1: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="share of tokens whose most likely next token is FP16's, 0 to 1"
    )
    max_perplexity_ratio: _Positive | None = Field(None, description="perplexity, times FP16's")
    min_cosine: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="of an encoder: mean cosine of embeddings with FP16's, 0 to 1"
    )
    min_cosine_p01: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="of an encoder: that of the worst sentence of a hundred"
    )
    min_spearman: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="of an encoder: rank correlation of the similarities of all sentences"
    )
    max_bytes: ByteSize | None = Field(None, description="size on disk, as 98MB or 98000000")
    max_size_ratio: _Positive | None = Field(None, description="size on disk, times FP16's")
    min_prefill_speedup: _Positive | None = Field(
        None, description="prefill tokens per second, times those of the runtime's float model"
    )
    min_decode_speedup: _Positive | None = Field(
        None, description="decode tokens per second, times those of the runtime's float model"
    )
    min_sentences_speedup: _Positive | None = Field(
        None,
        description="of an encoder: sentences per second, times those of the runtime's float model",
    )
    max_rss: ByteSize | None = Field(None, description="peak memory of a process that runs it")

    @model_validator(mode="after")
    def _holds_something(self) -> "Budget":
        if not self.limits():
            raise ValueError("names no limit; give one, such as max_kld: 0.01")
        return self

    def limits(self) -> dict[str, float]:
        """The limits that are set, by name."""
        return {name: float(value) for name, value in self.model_dump(exclude_none=True).items()}


class Break(Strict):
    """A limit that an artefact does not keep, and the value that it has."""

    artifact: str
    budget: str
    limit: float
    value: float

    @property
    def by(self) -> float:
        """How far beyond the limit, as a share of it."""
        return abs(self.value / self.limit - 1)


JUDGEMENT_NAME = "judgement.json"


class Missing(Strict):
    """A row that could not be measured, and why."""

    artifact: str
    label: str
    reason: str


class Judgement(Strict):
    """Broken budgets, rows that could not be measured, and the artefacts not to be shipped."""

    breaks: tuple[Break, ...] = ()
    missing: tuple[Missing, ...] = ()
    rejected: tuple[str, ...] = ()
