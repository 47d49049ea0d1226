"""Budgets: what an artefact may cost at most and must gain at least, to be shipped."""

from collections.abc import Callable
from typing import Annotated

from pydantic import ByteSize, Field, model_validator

from scripts.evaluation.result import Evaluation
from scripts.strict import Strict

_Positive = Annotated[float, Field(gt=0)]


class Budget(Strict):
    """Limits of one artefact; those left out are not looked at.

    Speedups are against the float model in the same runtime, in the same run.
    """

    max_kld: _Positive | None = Field(None, description="mean KL divergence from FP16, in nats")
    min_top1: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="share of tokens whose most likely next token is FP16's, 0 to 1"
    )
    max_perplexity_ratio: _Positive | None = Field(None, description="perplexity, times FP16's")
    max_bytes: ByteSize | None = Field(None, description="size on disk, as 98MB or 98000000")
    max_size_ratio: _Positive | None = Field(None, description="size on disk, times FP16's")
    min_prefill_speedup: _Positive | None = Field(
        None, description="prefill tokens per second, times those of the runtime's float model"
    )
    min_decode_speedup: _Positive | None = Field(
        None, description="decode tokens per second, times those of the runtime's float model"
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
    """A limit that an artefact does not keep, and what was found."""

    artifact: str
    budget: str
    limit: float
    found: float

    @property
    def by(self) -> float:
        """How far beyond the limit, as a share of it."""
        return abs(self.found / self.limit - 1)


# Each figure of a row; the second and third argument are the base and the runtime's float model.
_FIGURES: dict[str, Callable[[Evaluation, Evaluation, Evaluation], float]] = {
    "max_kld": lambda row, *_: row.quality.kld_mean.value,
    "min_top1": lambda row, *_: row.quality.top1_agreement.value,
    "max_perplexity_ratio": lambda row, *_: row.quality.perplexity_ratio.value,
    "max_bytes": lambda row, *_: float(row.size.bytes),
    "max_size_ratio": lambda row, base, _: row.size.bytes / base.size.bytes,
    "min_prefill_speedup": lambda row, _, own: (
        row.speed.prefill_tokens_per_s.median / own.speed.prefill_tokens_per_s.median
    ),
    "min_decode_speedup": lambda row, _, own: (
        row.speed.decode_tokens_per_s.median / own.speed.decode_tokens_per_s.median
    ),
    "max_rss": lambda row, *_: float(row.speed.peak_rss_bytes),
}


def breaks(budget: Budget, row: Evaluation, base: Evaluation, own: Evaluation) -> list[Break]:
    """The limits that `row` does not keep; `own` is the float model in its runtime."""
    found = []
    for name, limit in budget.limits().items():
        value = _FIGURES[name](row, base, own)
        kept = value <= limit if name.startswith("max") else value >= limit
        if not kept:
            found.append(Break(artifact=row.artifact, budget=name, limit=limit, found=value))
    return found
