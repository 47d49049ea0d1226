"""The comparison tables: quality, size, speed and memory; then the figures behind them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from scripts.evaluation.result import Evaluation, Spread
from scripts.report.advice import VERDICTS, Pick, verdict
from scripts.report.lineup import Lineup, code, decode, megabytes, prefill
from scripts.report.numbers import (
    divergence,
    divergence_with_error,
    percent,
    percent_with_error,
    ratio,
    with_error,
)


@dataclass(frozen=True)
class Table:
    """A header and rows of cells, in Markdown. The columns named in `figures` align right."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    figures: frozenset[str] = frozenset()

    @property
    def align(self) -> list[str]:
        """`left` or `right` for each column."""
        return ["right" if name in self.figures else "left" for name in self.header]


Column = Callable[[Evaluation], str]


def _table(lineup: Lineup, columns: Mapping[str, Column], words: tuple[str, ...] = ()) -> Table:
    """One row for each of the lineup; `words` are the columns that hold no figures."""
    rows = (
        (lineup.name(row), *(column(row) for column in columns.values())) for row in lineup.rows
    )
    return Table(("artefact", *columns), tuple(rows), frozenset(columns) - frozenset(words))


def quality_table(lineup: Lineup) -> Table:
    """How far each row is from FP16."""

    def top_token(row: Evaluation) -> str:
        agreement = row.quality.top1_agreement
        return percent_with_error(agreement)

    def in_a_word(row: Evaluation) -> str:
        if row is lineup.base:
            return "the yardstick"
        return "the float model" if lineup.is_baseline(row) else verdict(row)

    def times(row: Evaluation) -> str:
        found = row.quality.perplexity_ratio
        return "1" if row is lineup.base else with_error(f"{found.value:.3f}", found.se)

    def perplexity(row: Evaluation) -> str:
        found = row.quality.perplexity
        return with_error(f"{found.value:.2f}", found.se)

    columns: dict[str, Column] = {
        "perplexity ± se": perplexity,
        "× FP16": times,
        "KLD ± se": lambda r: divergence_with_error(r.quality.kld_mean),
        "99 % KLD": lambda r: divergence(r.quality.kld_p99),
        "same top token": top_token,
        "in a word": in_a_word,
    }
    return _table(lineup, columns, words=("in a word",))


def has_tasks(lineup: Lineup) -> bool:
    """Whether the recipe has multiple-choice sets."""
    return any(row.tasks for row in lineup.rows)


def task_table(lineup: Lineup) -> Table:
    """How each row answers multiple-choice questions, and how often as FP16 does."""
    rows = [
        (
            name,
            f"{score.items:,}",
            lineup.name(row),
            percent_with_error(score.accuracy),
            "" if row is lineup.base else percent(score.agreement.value),
            "" if row is lineup.base else f"{score.lost} lost, {score.won} won",
        )
        for name in lineup.base.tasks
        for row in lineup.rows
        for score in [row.tasks[name]]
    ]
    header = ("set", "questions", "artefact", "right", "same answer as FP16", "against FP16")
    return Table(header, tuple(rows), frozenset({"questions", "right", "same answer as FP16"}))


def size_table(lineup: Lineup) -> Table:
    """What each row takes on disk, and how its weights are stored."""

    def stored(row: Evaluation) -> str:
        return ", ".join(f"{count} × {kind}" for kind, count in row.size.tensor_types.items())

    columns: dict[str, Column] = {
        "MB": lambda row: f"{megabytes(row):,.1f}",
        "of FP16": lambda row: percent(row.size.bytes / lineup.base.size.bytes, 0),
        "bits per weight": lambda row: f"{row.size.bits_per_weight:.2f}",
        "weight tensors stored as": stored,
    }
    return _table(lineup, columns, words=("weight tensors stored as",))


def speed_table(lineup: Lineup) -> Table:
    """How fast each row is, and what it needs in memory."""

    def against_float(row: Evaluation) -> str:
        own = lineup.float_model(row)
        return "1" if row is own else ratio(decode(row) / decode(own))

    columns: dict[str, Column] = {
        "prefill t/s": lambda row: f"{prefill(row):,.0f}",
        "decode t/s": lambda row: f"{decode(row):,.0f}",
        "decode, × FP16": lambda row: ratio(decode(row) / decode(lineup.base)),
        "× own runtime's float": against_float,
        "first token ms": lambda row: f"{row.speed.first_token_ms.median:,.0f}",
        "load s": lambda row: f"{row.speed.load_s:.2f}",
        "peak RSS MB": lambda row: f"{row.speed.peak_rss_bytes / 1e6:,.0f}",
    }
    return _table(lineup, columns)


def _spread(spread: Spread, places: int = 0) -> str:
    least, greatest = f"{spread.least:,.{places}f}", f"{spread.greatest:,.{places}f}"
    return f"{spread.median:,.{places}f} ({least} to {greatest}, {spread.repeats}×)"


def detail_table(lineup: Lineup) -> Table:
    """The tail of the divergence; median, least and greatest of the repeats of each timing."""
    columns: dict[str, Column] = {
        "99.9 % KLD": lambda row: divergence(row.quality.kld_p999),
        "RMS Δp": lambda row: percent(row.quality.rms_delta_p),
        "prefill t/s": lambda row: _spread(row.speed.prefill_tokens_per_s),
        "decode t/s": lambda row: _spread(row.speed.decode_tokens_per_s, 1),
        "first token ms": lambda row: _spread(row.speed.first_token_ms),
    }
    return _table(lineup, columns)


def pick_table(purpose: str, picks: list[Pick]) -> Table:
    """Recommendations: for what, which, why."""
    rows = (
        (one.purpose, f"**{code(one.name)}**" if one.name else "none", one.reason) for one in picks
    )
    return Table((purpose, "take", "because"), tuple(rows))


def verdict_table() -> Table:
    """The words for a divergence."""
    limits = [f"< {one.limit:g}" for one in VERDICTS[:-1]]
    rows = zip(
        [*limits, f"≥ {VERDICTS[-2].limit:g}"],
        (one.word for one in VERDICTS),
        (one.meaning for one in VERDICTS),
        strict=True,
    )
    return Table(("KLD", "in a word", "what it means"), tuple(rows), frozenset({"KLD"}))
