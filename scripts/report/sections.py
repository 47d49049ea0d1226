"""The report, section by section, from top to bottom; each page renders these in its own way."""

from scripts.report.advice import advice, runtime_table, warnings
from scripts.report.facts import Facts
from scripts.report.gate import failures
from scripts.report.glossary import glossary
from scripts.report.history import History, changes
from scripts.report.lineup import Lineup, code, distance, frontier, megabytes
from scripts.report.loading import loading
from scripts.report.method import method, workflow
from scripts.report.parts import Drawing, Items, Paragraph, Part, Section, Subtitle
from scripts.report.samples import flips, samples
from scripts.report.sensitivity import sensitivity
from scripts.report.tables import overview, stored_table, task_table, text_table
from scripts.report.verdicts import verdict_table

_ABOUT = """\
A language model is mostly a long list of numbers, its **weights**. **Quantisation** stores them \
with fewer bits. The file shrinks, and since a processor that writes an answer spends most of its \
time fetching weights from memory, answers come faster too. The price is rounding: the model no \
longer computes quite what it did. This report measures that price for each file that was built, \
and says which one to take."""
_ABOUT_ENCODERS = """\
An encoder turns a sentence into an **embedding**, a list of numbers, so that sentences of like \
meaning get lists that point the same way; searches compare them. The encoder itself is a long \
list of numbers, its **weights**. **Quantisation** stores them with fewer bits, and may multiply \
in whole numbers too: the file shrinks, and processors embed more sentences a second. The price is \
rounding: embeddings turn a little. This report measures that price for each file that was built, \
and says which one to take."""
_READING_ENCODERS = """\
The cosine says how near an artefact's embeddings are to those of FP16: at 1 they are the same, \
and the word beside it says what to expect. Same ranking says whether it finds the same \
neighbours. Speeds are in sentences a second. All terms are explained \
[below](#what-the-words-mean)."""
_VERDICTS_ENCODERS = """\
The verdicts stand for the mean cosine with FP16's embeddings, on the kind of text where it is \
lowest. They are rules of thumb, not a standard: test on your own search."""
_READING = """\
KL divergence says how far an artefact's predictions are from those of FP16: at 0 they are the \
same, and the word beside it says what to expect. Decode is writing an answer, prefill is reading \
the prompt. All terms are explained [below](#what-the-words-mean)."""
_VERDICTS = """\
The verdicts stand for the mean KL divergence (KLD) from FP16. They are rules of thumb, not a \
standard: look at the samples, and test on your own task."""
_TEXTS = """\
Every row was scored on texts of several kinds. All other figures of quality on this page, \
the verdicts and the budgets are those of the kind where the row is furthest from FP16; \
perplexity alone is that of the first, the calibration's kind. A method that learns from a text \
does best on texts like it: the last column says how much of its gain stays behind elsewhere."""
_TEXTS_ENCODERS = """\
Every row embedded sentences of several kinds of text. All other figures of quality on this page, \
the verdicts and the budgets are those of the kind where the row's mean cosine is lowest."""
_TASKS = """\
The answer is the choice with the highest likelihood per byte. Questions that FP16 has right and \
the artefact wrong are lost, the other way round won: few of either say more than two shares that \
look alike."""
_SMALL = """\
This model has {:,.0f} million parameters. Small models have little redundancy and suffer more \
from 4 bits than large ones do: do not carry these verdicts over to a model of billions."""


def sections(facts: Facts, lineup: Lineup, history: History, folder: str) -> list[Section]:
    """All sections, those left out that have nothing to say.

    `folder` is that of the artefacts with a slash at its end, from where the page lies.
    """
    return [
        *failures(lineup),
        _advice(lineup),
        *changes(history),
        _comparison(lineup),
        *([] if facts.kind == "encoder" else [samples(lineup)]),
        *flips(lineup),
        *sensitivity(lineup),
        loading(facts, lineup, folder),
        glossary(facts, lineup),
        workflow(lineup),
        method(facts, lineup),
    ]


def _advice(lineup: Lineup) -> Section:
    careful = tuple(warnings(lineup))
    best = _frontier(lineup)
    embeds = lineup.base.embedded is not None
    millions = lineup.base.size.parameters / 1e6
    own = lineup.yardstick
    _from = "with" if embeds else "from"
    chart = Drawing(
        "size-quality",
        "Size against distance from FP16: further left is smaller, further down is closer",
        f"Size of each artefact against its {own.name} {_from} FP16. {best.replace('`', '')}",
    )
    return Section(
        "Which one should I take?",
        (
            advice(lineup),
            *([Items(careful, careful=True)] if careful else []),
            runtime_table(lineup),
            chart,
            Paragraph(best, quiet=True),
            Subtitle("What this is about"),
            Paragraph(_ABOUT_ENCODERS if embeds else _ABOUT),
            Paragraph(_READING_ENCODERS if embeds else _READING),
            *([Paragraph(_SMALL.format(millions))] if millions < 1000 and not embeds else []),
            Paragraph(_VERDICTS_ENCODERS if embeds else _VERDICTS),
            verdict_table(own),
        ),
        "Which one to take",
    )


def _frontier(lineup: Lineup) -> str:
    """The frontier of the chart in words, for those who can't see it."""
    own = lineup.yardstick
    named = "; ".join(
        f"{code(row.artifact)} ({megabytes(row):,.0f} MB, {own.name} {own.show(distance(row))})"
        for row in frontier(lineup.artifacts)
    )
    return f"Best for their size, since nothing is both smaller and closer to FP16: {named}."


def _comparison(lineup: Lineup) -> Section:
    effect = f"{_runtime_effect(lineup)} The terms are explained [below](#what-the-words-mean)."
    embedded = lineup.base.embedded
    several = len(embedded.texts if embedded else lineup.base.texts) > 1
    of_texts = _TEXTS_ENCODERS if embedded else _TEXTS
    texts: list[Part] = [text_table(lineup), Paragraph(of_texts)] if several else []
    tasks: list[Part] = [task_table(lineup), Paragraph(_TASKS)] if lineup.base.tasks else []
    notes = tuple(f"{code(row.artifact)}: {note}" for row in lineup.rows for note in row.notes)
    divergences = Drawing(
        "divergence",
        "How far the tokens are off: on average, and the worst of 100 and of 1000",
        "Mean, 99 % and 99.9 % KL divergence of each artefact; the figures stand in the table.",
    )
    speeds = Drawing(
        "speed",
        "Speed: the bars are medians, the whiskers the minimum and maximum of the repeats",
        f"{' and '.join(lineup.yardstick.panels) if embedded else 'Prefill and decode speed'} of "
        "each artefact and of the float model; the figures stand in the table.",
    )
    return Section(
        "Comparison",
        (
            Paragraph(effect.strip()),
            overview(lineup),
            *([] if embedded else [divergences]),
            speeds,
            *texts,
            *tasks,
            stored_table(lineup),
            *([Items(notes)] if notes else []),
        ),
        "Comparison",
    )


def _runtime_effect(lineup: Lineup) -> str:
    """How far the float model in the other runtimes is from the base, if there are any."""
    others = lineup.baselines[1:]
    if not others:
        return ""
    own = lineup.yardstick
    worst = own.show(max(abs(distance(row)) for row in others))
    by = "next to nothing" if worst in ("≈ 0", "1") else f"a KL divergence of up to {worst}"
    if lineup.base.embedded and by != "next to nothing":
        by = f"a cosine of {worst} at least"
    return (
        "Rows in italics are the float model in each runtime. In quality they differ from the base "
        f"by {by}: that much is the runtime's doing, all beyond it is quantisation's. In speed, "
        "compare an artefact with the float model in its own runtime to see what quantisation "
        "gained, and with the base to see what both gained together."
    )
