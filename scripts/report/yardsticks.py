"""What the report says of quality and speed: of a decoder's predictions, of an encoder's
embeddings. Advice, charts and verdicts are the same for both, in the words of one of them."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from scripts.evaluation.result import Estimate, Evaluation, Spread
from scripts.report.numbers import Show, divergence, percent


@dataclass(frozen=True)
class Verdict:
    """A word for a mean distance below `limit`, and what it means for a user."""

    limit: float
    word: str
    meaning: str


@dataclass(frozen=True)
class Yardstick:
    """`distance` is the mean distance from the base, lower is closer, `name` what people call it
    and `show` how they write it; `closeness` completes a sentence about a row, after `verb`.
    `answering` and `reading` are the two speeds in `unit`, with the purposes that they decide;
    `writes` completes a sentence with a speed.

    `noise` is the distance below which nothing is told apart, and where a log axis ends.
    """

    distance: Callable[[Evaluation], Estimate]
    name: str
    column: str
    show: Show
    limits: Callable[[float], str]
    verdicts: tuple[Verdict, ...]
    verb: str
    closeness: Callable[[Evaluation], str]
    answering: Callable[[Evaluation], Spread]
    reading: Callable[[Evaluation], Spread]
    speeds: tuple[str, str]
    panels: tuple[str, str]
    purposes: tuple[str, str]
    unit: str
    writes: str
    on_cards: tuple[str, ...]
    axis: str
    noise: float = 1e-4

    @property
    def usable(self) -> float:
        """The distance below which an artefact may be recommended."""
        return next(one.limit for one in self.verdicts if one.word == "noticeable")


def _top1(row: Evaluation) -> str:
    share = percent(row.quality.top1_agreement.value)
    return f"FP16's most likely next token in {share} of cases"


PREDICTIONS = Yardstick(
    distance=lambda row: row.quality.kld_mean,
    name="KL divergence",
    column="KLD",
    show=divergence,
    limits=lambda limit: f"{limit:g}",
    verdicts=(
        Verdict(
            0.01, "indistinguishable in practice", "take it in place of FP16 without a thought"
        ),
        Verdict(0.05, "close", "wording changes now and then, what is said hardly ever"),
        Verdict(
            0.2, "noticeable", "often other words; fine for chat and drafts, test it on your task"
        ),
        Verdict(0.5, "poor", "clearly weaker than FP16; only where nothing else fits"),
        Verdict(inf, "broken", "no longer the same model; something went wrong in making it"),
    ),
    verb="picks",
    closeness=_top1,
    answering=lambda row: row.speed.decode_tokens_per_s,
    reading=lambda row: row.speed.prefill_tokens_per_s,
    speeds=("decode", "prefill"),
    panels=("Decode: writing, tokens/s", "Prefill: reading, tokens/s"),
    purposes=("Fastest answers (decode)", "Fastest reading of long prompts (prefill)"),
    unit="tokens/s",
    writes="writes {} tokens a second",
    on_cards=("bytes", "kld", "prefill", "decode"),
    axis="mean KL divergence from FP16, nats (log scale)",
)


def _lost(row: Evaluation) -> Estimate:
    """1 − cosine."""
    cosine = row.embeddings.cosine
    return Estimate(value=1 - cosine.value, se=cosine.se)


def cosine(value: float) -> str:
    """A cosine, with as many places as tell it from 1."""
    places = 3 if value < 0.99 else 4 if value < 0.9995 else 5 if value < 0.99995 else 6
    return "1" if value > 1 - 5e-7 else f"{value:.{places}f}"


def _batched(row: Evaluation) -> Spread:
    assert row.speed.sentences_per_s is not None
    return row.speed.sentences_per_s


def _single(row: Evaluation) -> Spread:
    assert row.speed.single_sentences_per_s is not None
    return row.speed.single_sentences_per_s


def _similarities(row: Evaluation) -> str:
    return (
        f"a rank correlation of {cosine(row.embeddings.spearman)} between its similarities of "
        "sentences and FP16's"
    )


EMBEDDINGS = Yardstick(
    distance=_lost,
    name="cosine",
    column="cosine",
    show=lambda lost: cosine(1 - lost),
    limits=lambda limit: f"{1 - limit:g}",
    verdicts=(
        Verdict(
            0.001, "indistinguishable in practice", "take it in place of FP16 without a thought"
        ),
        Verdict(
            0.005,
            "close",
            "near neighbours change places now and then; an index that FP16 made can stay",
        ),
        Verdict(
            0.02,
            "noticeable",
            "rankings change; embed your documents anew with it, and test your search",
        ),
        Verdict(0.05, "poor", "clearly weaker than FP16; only where nothing else fits"),
        Verdict(inf, "broken", "no longer the same model; something went wrong in making it"),
    ),
    verb="has",
    closeness=_similarities,
    answering=_batched,
    reading=_single,
    speeds=("batches", "one by one"),
    panels=("In batches of 32, sentences/s", "One by one, sentences/s"),
    purposes=("Fastest in batches (documents)", "Fastest one by one (queries)"),
    unit="sentences/s",
    writes="embeds {} sentences a second in batches",
    on_cards=("bytes", "cosine", "sentences", "single"),
    axis="1 − mean cosine with FP16's embeddings (log scale)",
    noise=1e-7,
)


def yardstick_of(row: Evaluation) -> Yardstick:
    """That of the kind of model that a row is of."""
    return PREDICTIONS if row.embedded is None else EMBEDDINGS
