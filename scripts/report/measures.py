"""All figures of a row: to add one is to add it here, and its value to the stored evaluation.

Tables, their sorting, the glossary, budgets and what is compared with the last report derive
from this table.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import isnan

from scripts.backends.format import ModelKind
from scripts.evaluation.result import Estimate, Evaluation, Spread
from scripts.report.lineup import Lineup, answering, reading
from scripts.report.numbers import (
    Show,
    divergence,
    megabytes,
    percent,
    places,
    rate,
    ratio,
    whole_percent,
    with_error,
    with_spread,
)
from scripts.report.verdicts import verdict
from scripts.report.yardsticks import cosine, yardstick_of

QUALITY, SIZE, SPEED = "Quality", "Size", "Speed and memory"
GROUPS = (QUALITY, SIZE, SPEED)

Number = float | Estimate | Spread


@dataclass(frozen=True)
class Measure:
    """One figure of a row: where it comes from, how it is written, what it means.

    `show` writes its value in `unit`; errors and spreads follow from the kind of `figure`.
    `higher` is true where higher is better. `in_short` are those that most readers look for.
    `margin` is the share from which a change since the last report counts, None where it is not
    compared; an estimate's changes count beyond the standard error of the difference.
    `word` stands in the place of the number, which only sorts then. `of` is the kind of model that
    has it, where not all have.
    """

    key: str
    name: str
    group: str
    figure: Callable[[Evaluation, Lineup], Number]
    show: Show
    meaning: str
    unit: str = ""
    higher: bool = False
    in_short: bool = False
    margin: float | None = None
    word: Callable[[Evaluation, Lineup], str] | None = None
    of: ModelKind | None = None

    @property
    def header(self) -> str:
        """The name with its unit, for columns."""
        return f"{self.name} {self.unit}".strip()

    def value(self, row: Evaluation, lineup: Lineup) -> float:
        """The bare number, to sort and to compare by."""
        return value_of(self.figure(row, lineup))

    def kept(self, row: Evaluation, lineup: Lineup) -> float | Estimate:
        """What is compared with later reports."""
        figure = self.figure(row, lineup)
        return figure.median if isinstance(figure, Spread) else figure

    def text(self, row: Evaluation, lineup: Lineup) -> str:
        """As it stands in tables, with its standard error where it has one."""
        if self.word is not None:
            return self.word(row, lineup)
        figure = self.kept(row, lineup)
        if isnan(value_of(figure)):  # it was not timed
            return "–"
        if isinstance(figure, Estimate):
            return with_error(self.show, figure)
        return self.show(figure)

    def spread(self, row: Evaluation, lineup: Lineup) -> str:
        """The repeats of a timing; empty for what has none."""
        figure = self.figure(row, lineup)
        if isinstance(figure, Spread) and figure.repeats:
            return with_spread(self.show, figure)
        return ""

    def amount(self, value: float) -> str:
        """A value with its unit, for sentences and budgets."""
        return f"{self.show(value)}\u00a0{self.unit}".strip("\u00a0")


def value_of(figure: Number) -> float:
    """The number of an estimate, or of repeats their median."""
    if isinstance(figure, Estimate):
        return figure.value
    return figure.median if isinstance(figure, Spread) else float(figure)


def _word(row: Evaluation, lineup: Lineup) -> str:
    if row is lineup.base:
        return "the yardstick"
    return "the float model" if lineup.is_baseline(row) else verdict(row)


SPEED_MARGIN = 0.05
"""Medians nearer to each other than this change places from run to run."""

_TABLE = (
    Measure(
        "verdict", "in a word", QUALITY, lambda row, _: yardstick_of(row).distance(row), divergence,
        "What the distance from FP16 amounts to, as a rule of thumb; the table of verdicts says "
        "from where on.",
        in_short=True, word=_word,
    ),
    Measure(
        "kld", "KLD", QUALITY, lambda row, _: row.quality.kld_mean, divergence,
        "KL divergence: how far a row's predictions are from those of FP16, over the whole "
        "vocabulary, averaged over tokens, in nats; 0 is identical. It is the most telling figure "
        "here: perplexity can stay put while errors cancel out, this can't.",
        in_short=True, margin=0.0, of="decoder",
    ),
    Measure(
        "kld_p99", "99 % KLD", QUALITY, lambda row, _: row.quality.kld_p99, divergence,
        "One token in a hundred is further off than this.",
        of="decoder",
    ),
    Measure(
        "kld_p999", "99.9 % KLD", QUALITY, lambda row, _: row.quality.kld_p999, divergence,
        "One token in a thousand is further off than this.",
        of="decoder",
    ),
    Measure(
        "top1", "same top token", QUALITY, lambda row, _: row.quality.top1_agreement, percent,
        "How often the token that a row thinks most likely is the one that FP16 does: top-1 "
        "agreement.",
        higher=True, of="decoder",
    ),
    Measure(
        "rms_delta_p", "RMS Δp", QUALITY, lambda row, _: row.quality.rms_delta_p, percent,
        "By how much the probability of the token that really follows typically changes, in "
        "percentage points.",
        of="decoder",
    ),
    Measure(
        "perplexity", "perplexity", QUALITY, lambda row, _: row.first.perplexity, places(2),
        "How surprised the model is by a real text; lower is better. 30 means that it hesitates "
        "as if between 30 equally likely tokens (pieces of words). Compare it only within a "
        "table: other texts and tokenizers give other values. Where several texts were scored, it "
        "is that on the first.",
        of="decoder",
    ),
    Measure(
        "perplexity_ratio", "× FP16", QUALITY, lambda row, _: row.first.perplexity_ratio,
        places(3),
        "Perplexity, in times that of FP16. Its error is that of paired differences, so it is "
        "smaller than those of the two perplexities.",
        of="decoder",
    ),
    Measure(
        "cosine", "cosine", QUALITY, lambda row, _: row.embeddings.cosine, cosine,
        "How near a sentence's embedding is to FP16's: the cosine of the angle between the two, "
        "averaged over sentences; 1 is the same direction. It says whether embeddings of both can "
        "stand in one index.",
        higher=True, in_short=True, margin=0.0, of="encoder",
    ),
    Measure(
        "cosine_p01", "worst 1 %", QUALITY, lambda row, _: row.embeddings.cosine_p01, cosine,
        "One sentence in a hundred has a lower cosine than this.",
        higher=True, of="encoder",
    ),
    Measure(
        "spearman", "same ranking", QUALITY, lambda row, _: row.embeddings.spearman, cosine,
        "Spearman's rank correlation: whether a row ranks all pairs of two sentences by their "
        "similarity as FP16 does; 1 is the same order. A search lives on it: it can stay high "
        "where embeddings all turn alike, which the cosine counts as a loss.",
        higher=True, in_short=True, of="encoder",
    ),
    Measure(
        "bytes", "size", SIZE, lambda row, _: row.size.bytes, megabytes(1),
        "What the artefact takes on disk, in 10⁶ bytes.",
        unit="MB", in_short=True, margin=0.001,
    ),
    Measure(
        "size_ratio", "of FP16", SIZE,
        lambda row, lineup: row.size.bytes / lineup.base.size.bytes, whole_percent,
        "The size, as a share of that of the FP16 base.",
    ),
    Measure(
        "bits_per_weight", "bits per weight", SIZE, lambda row, _: row.size.bits_per_weight,
        places(2),
        "All that a format stores of the weights, its scales and zero points included, divided by "
        "the number of weights. Parts that are kept in more bits (often the embedding, which "
        "turns tokens into vectors) raise it above the 4 or 8 in the format's name.",
    ),
    Measure(
        "prefill", "prefill", SPEED, lambda row, _: row.speed.prefill_tokens_per_s, rate,
        "Reading the prompt, many tokens at once: bound by arithmetic. It decides how long a long "
        "prompt takes.",
        unit="t/s", higher=True, in_short=True, margin=SPEED_MARGIN, of="decoder",
    ),
    Measure(
        "decode", "decode", SPEED, lambda row, _: row.speed.decode_tokens_per_s, rate,
        "Writing the answer, one token after another: bound by memory, so small files win. It "
        "decides how fast the answer runs over the screen.",
        unit="t/s", higher=True, in_short=True, margin=SPEED_MARGIN, of="decoder",
    ),
    Measure(
        "decode_ratio", "decode, × FP16", SPEED,
        lambda row, lineup: answering(row) / answering(lineup.base), ratio,
        "Decode, in times that of the FP16 base: what runtime and quantisation gain together.",
        higher=True, of="decoder",
    ),
    Measure(
        "prefill_speedup", "prefill, × own float", SPEED,
        lambda row, lineup: reading(row) / reading(lineup.float_model(row)), ratio,
        "Prefill, in times that of the float model in the same runtime: what quantisation gains.",
        higher=True, of="decoder",
    ),
    Measure(
        "decode_speedup", "decode, × own float", SPEED,
        lambda row, lineup: answering(row) / answering(lineup.float_model(row)), ratio,
        "Decode, in times that of the float model in the same runtime.",
        higher=True, of="decoder",
    ),
    Measure(
        "sentences", "batches", SPEED, lambda row, _: yardstick_of(row).answering(row), rate,
        "Sentences embedded a second, 32 together, padded to the longest of them: how fast "
        "documents are embedded.",
        unit="sent/s", higher=True, in_short=True, margin=SPEED_MARGIN, of="encoder",
    ),
    Measure(
        "single", "one by one", SPEED, lambda row, _: yardstick_of(row).reading(row), rate,
        "Sentences embedded a second, each alone: how fast queries are answered.",
        unit="sent/s", higher=True, in_short=True, margin=SPEED_MARGIN, of="encoder",
    ),
    Measure(
        "sentences_ratio", "batches, × FP16", SPEED,
        lambda row, lineup: answering(row) / answering(lineup.base), ratio,
        "Batches, in times the speed of the FP16 base: what runtime and quantisation gain "
        "together.",
        higher=True, of="encoder",
    ),
    Measure(
        "sentences_speedup", "batches, × own float", SPEED,
        lambda row, lineup: answering(row) / answering(lineup.float_model(row)), ratio,
        "Batches, in times the speed of the float model in the same runtime: what quantisation "
        "gains.",
        higher=True, of="encoder",
    ),
    Measure(
        "single_speedup", "one by one, × own float", SPEED,
        lambda row, lineup: reading(row) / reading(lineup.float_model(row)), ratio,
        "The same of sentences one by one.",
        higher=True, of="encoder",
    ),
    Measure(
        "first_token", "first token", SPEED, lambda row, _: row.speed.first_token_ms, places(0),
        "How long a short prompt waits for the first token of its answer.",
        unit="ms", of="decoder",
    ),
    Measure(
        "load", "load", SPEED, lambda row, _: row.speed.load_s, places(2),
        "How long the artefact takes to load, in a fresh process.",
        unit="s",
    ),
    Measure(
        "rss", "peak RSS", SPEED, lambda row, _: row.speed.peak_rss_bytes, megabytes(0),
        "The most memory that a process needed which only loads and runs the artefact, its "
        "libraries included.",
        unit="MB",
    ),
)  # fmt: skip
MEASURES = {one.key: one for one in _TABLE}


def measures_of(lineup: Lineup) -> list[Measure]:
    """Those of the kind of model that the rows are of."""
    other = "decoder" if lineup.base.embedded else "encoder"
    return [one for one in _TABLE if one.of != other]


def of_budget(name: str) -> Measure:
    """The measure that a budget limits: `max_KEY` where lower is better, else `min_KEY`."""
    return MEASURES[name.partition("_")[2]]
