"""The records that evaluations write and the report reads.

`evaluation/<artefact>.json` holds a `Measured`, or a `Failed` that says why there is none.
`timings.json` holds the `Timings` of all rows. The report joins them to an `Evaluation` for each.
Every number carries its unit in its name, and its uncertainty or spread beside it.
"""

import statistics
from collections.abc import Sequence
from math import nan
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from scripts.strict import Strict

_WITH_NAN = ConfigDict(ser_json_inf_nan="constants")


class Estimate(Strict):
    """A mean over scored tokens with its standard error."""

    value: float
    se: float


class Spread(Strict):
    """Median, minimum and maximum of `repeats` measurements after a warm-up."""

    model_config = _WITH_NAN

    median: float
    min: float
    max: float
    repeats: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """That of some measurements."""
        middle = statistics.median(values)
        return cls(median=middle, min=min(values), max=max(values), repeats=len(values))


class Size(Strict):
    """What the artefact takes on disk. Bits per weight count the embedding and all metadata of
    the quantisation; `tensor_types` counts weight tensors by stored type, such as {"Q4_0": 211}."""

    bytes: int
    parameters: int
    bits_per_weight: float
    tensor_types: dict[str, int]


class Quality(Strict):
    """Distance from the FP16 base over `tokens_scored` next-token predictions; KLD in nats."""

    tokens_scored: int
    perplexity: Estimate
    perplexity_ratio: Estimate
    kld_mean: Estimate
    kld_p99: float
    kld_p999: float
    top1_agreement: Estimate
    rms_delta_p: float

    @classmethod
    def none(cls) -> "Quality":
        """Of a model that predicts nothing: NaN for every figure."""
        unknown = Estimate(value=nan, se=nan)
        return cls(
            tokens_scored=0,
            perplexity=unknown,
            perplexity_ratio=unknown,
            kld_mean=unknown,
            kld_p99=nan,
            kld_p999=nan,
            top1_agreement=unknown,
            rms_delta_p=nan,
        )


class TextQuality(Strict):
    """Quality on the text of one kind."""

    kind: str
    quality: Quality


class Flip(Strict):
    """A token where FP16's most likely next token is not the artefact's.

    `context` is the text before it; `expected` is FP16's token and its probability there, `got`
    the artefact's and the artefact's own probability of it; KLD in nats.
    """

    context: str
    expected: str
    expected_p: float
    got: str
    got_p: float
    kld: float


class TaskScore(Strict):
    """A multiple-choice set: the share of right answers, and of answers that are FP16's.

    `lost` are items that FP16 has right and this row wrong, `won` the other way round.
    """

    items: int
    accuracy: Estimate
    agreement: Estimate
    lost: int
    won: int


class Sample(Strict):
    """One greedy completion."""

    prompt: str
    completion: str


class Measured(Strict):
    """One artefact on the yardstick, timings apart: the same bytes give the same record.

    `texts` are the kinds of text that were scored, the calibration's first; `quality` is that on
    the one where the KL divergence is largest. `flips` are the worst; `tasks` by the names in the
    recipe; `notes` are sentences that the report prints as they are.
    """

    status: Literal["measured"] = "measured"
    artifact: str
    backend: str
    size: Size
    quality: Quality
    texts: tuple[TextQuality, ...] = ()
    samples: tuple[Sample, ...]
    flips: tuple[Flip, ...] = ()
    tasks: dict[str, TaskScore] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def tokens_scored(self) -> int:
        """Predictions over all texts."""
        each = [one.quality.tokens_scored for one in self.texts]
        return sum(each) if each else self.quality.tokens_scored

    @property
    def first(self) -> Quality:
        """Quality on the text of the calibration's kind, which is the same text for every row."""
        return self.texts[0].quality if self.texts else self.quality


class EmbeddingQuality(Strict):
    """How near the embeddings of `sentences` sentences are to the base's: the mean cosine, that of
    the worst of 100, and Spearman's rank correlation of all similarities of two sentences."""

    sentences: int
    cosine: Estimate
    cosine_p01: float
    spearman: float


class TextEmbeddings(Strict):
    """The same on the text of one kind."""

    kind: str
    quality: EmbeddingQuality


class Embedded(Strict):
    """One artefact of an encoder on the yardstick, timings apart.

    `texts` are the kinds of text that were embedded; `quality` is that on the one where the mean
    cosine is lowest. `truncated` sentences were longer than the `longest` tokens that the model
    takes.
    """

    status: Literal["embedded"] = "embedded"
    artifact: str
    backend: str
    size: Size
    quality: EmbeddingQuality
    texts: tuple[TextEmbeddings, ...]
    longest: int
    truncated: int
    notes: tuple[str, ...] = ()


class Failed(Strict):
    """An artefact that could not be measured, and why, for people."""

    status: Literal["failed"] = "failed"
    artifact: str
    reason: str


MEASUREMENT: TypeAdapter[Measured | Embedded | Failed] = TypeAdapter(
    Annotated[Measured | Embedded | Failed, Field(discriminator="status")]
)


class Speed(Strict):
    """Timings in a fresh process; they are not reproducible and no action key holds them.

    An encoder has sentences a second, in batches and one by one, and NaN for the rest.
    """

    model_config = _WITH_NAN

    prefill_tokens: int
    prefill_tokens_per_s: Spread
    decode_tokens: int
    decode_tokens_per_s: Spread
    first_token_ms: Spread
    load_s: float
    peak_rss_bytes: int | float
    threads: int
    sentences_per_s: Spread | None = None
    single_sentences_per_s: Spread | None = None

    @classmethod
    def none(cls, threads: int) -> "Speed":
        """Of a row that was left out: NaN for every figure."""
        unknown = Spread(median=nan, min=nan, max=nan, repeats=0)
        return cls(
            prefill_tokens=0,
            prefill_tokens_per_s=unknown,
            decode_tokens=0,
            decode_tokens_per_s=unknown,
            first_token_ms=unknown,
            load_s=nan,
            peak_rss_bytes=nan,
            threads=threads,
        )


class Machine(Strict):
    """Where the timings were taken."""

    cpu: str
    features: list[str]
    cores: int
    packages: dict[str, str]


class Timings(Strict):
    """All rows, timed in turn: their speeds by name, and why the others have none. A row that was
    `left_out` on purpose is in the report all the same."""

    model_config = _WITH_NAN

    machine: Machine
    speeds: dict[str, Speed]
    failures: dict[str, str]
    left_out: dict[str, str] = Field(default_factory=dict)


class Evaluation(Measured):
    """One row of the report: what was measured, with its timings and the label of the recipe."""

    label: str
    speed: Speed
    machine: Machine
    embedded: Embedded | None = None

    @classmethod
    def of_encoder(
        cls, embedded: Embedded, label: str, speed: Speed, machine: Machine
    ) -> "Evaluation":
        """A row of an encoder's report: what only decoders have is NaN."""
        return cls(
            artifact=embedded.artifact,
            backend=embedded.backend,
            size=embedded.size,
            quality=Quality.none(),
            samples=(),
            notes=embedded.notes,
            label=label,
            speed=speed,
            machine=machine,
            embedded=embedded,
        )

    @property
    def embeddings(self) -> EmbeddingQuality:
        """Of a row of an encoder."""
        assert self.embedded is not None
        return self.embedded.quality

    @property
    def is_timed(self) -> bool:
        """Whether it has speeds."""
        return self.speed.decode_tokens > 0 or self.speed.sentences_per_s is not None
