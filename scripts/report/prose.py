"""The report's explanations, for a reader who has never quantised a model."""

from collections.abc import Sequence

from scripts.backends.face import faces
from scripts.backends.table import BACKENDS, YARDSTICK
from scripts.evaluation.result import Evaluation
from scripts.report.lineup import Lineup, kld
from scripts.report.numbers import divergence

Terms = Sequence[tuple[str, str]]

TERMS = """\
A language model is mostly a long list of numbers, its **weights**. **Quantisation** stores them \
with fewer bits. The file shrinks, and since a processor that writes an answer spends most of its \
time fetching weights from memory, answers come faster too. The price is rounding: the model no \
longer computes quite what it did. This report measures that price for each file that was built, \
and says which one to take."""

READING = """\
In the tables, KL divergence says how far an artefact's predictions are from those of FP16: at 0 \
they are the same, and the word beside it says what to expect. Decode is writing an answer, \
prefill is reading the prompt. All terms are explained [below](#what-the-words-mean)."""

VERDICTS = """\
The verdicts stand for the mean KL divergence (KLD) from FP16. They are rules of thumb, not a \
standard: look at the samples, and test on your own task."""

SAMPLES = """\
Greedy completions: the most likely token is taken at each step. **Bold** begins at the first \
word that is not FP16's; from there on the texts go separate ways, and a different answer need \
not be a worse one."""

LOADING = """\
Run these from the folder that this page lies in. They continue a plain text, which works with \
every model; an instruction-tuned one answers better to its chat template."""

TASKS = """\
The answer is the choice with the greatest likelihood per byte. Questions that FP16 has right and \
the artefact wrong are lost, the other way round won: few of either say more than two shares that \
look alike."""

NUMBER_TERMS: Terms = (
    (
        "FP16",
        "16-bit floating point, the form in which most models are published: 2 bytes a weight. "
        "It is the yardstick; everything else is compared with it. (FP32 takes 4 bytes and adds "
        "nothing here, since these weights were made as FP16.)",
    ),
    (
        "INT8, INT4",
        "Weights as whole numbers of 8 bits (256 values) or 4 bits (16 values): a half or a "
        "quarter of FP16's size, and a little more for the scales.",
    ),
    (
        "block, scale, zero point",
        "Weights are rounded in small groups, the blocks, often of 32 or 64. Each block keeps a "
        "scale: the step between two neighbouring whole numbers. Some formats also keep a zero "
        "point, the whole number that stands for 0, so that the 16 or 256 values need not lie "
        "evenly around it. Smaller blocks fit better and cost more bits.",
    ),
    (
        "bits per weight",
        "All that a format stores of the weights, its scales and zero points included, divided by "
        "the number of weights. Parts that are kept in more bits (often the embedding, which turns "
        "tokens into vectors) raise it above the 4 or 8 in the format's name.",
    ),
)

METHOD_TERMS: Terms = (
    (
        "weight-only",
        "Only the weights are stored as whole numbers; they are turned back into floating point "
        "as they are used. It loses least and helps decoding most.",
    ),
    (
        "dynamic",
        "The values that flow through the model, its activations, are rounded to 8 bits too, so "
        "that the arithmetic itself is done in whole numbers, which helps prefill. Their scale is "
        "found anew at each step, while the model runs.",
    ),
    (
        "static",
        "As dynamic, but the scales of the activations are fixed beforehand, from a sample of "
        "text: the calibration. Nothing is left to find at run time, but whatever exceeds the "
        "range seen in calibration is cut off. Language models have a few very large activations, "
        "so this is the hardest of the three to get right.",
    ),
)

MEASURES: Terms = (
    (
        "perplexity",
        "How surprised the model is by a real text; lower is better. 30 means that it hesitates as "
        "if between 30 equally likely tokens (pieces of words). Compare it only within a table: "
        "other texts and tokenizers give other values.",
    ),
    (
        "KL divergence (KLD)",
        "How far a row's predictions are from those of FP16, over the whole vocabulary, averaged "
        "over tokens, in nats; 0 is identical. It is the most telling figure here: perplexity can "
        "stay put while errors cancel out, this can't. One token in a hundred exceeds the 99 % "
        "column.",
    ),
    (
        "same top token",
        "How often the token that a row thinks most likely is the one that FP16 does: top-1 "
        "agreement.",
    ),
    (
        "RMS Δp",
        "By how much the probability of the token that really follows typically changes, in "
        "percentage points.",
    ),
    (
        "prefill",
        "Reading the prompt, many tokens at once: bound by arithmetic. It decides how long a long "
        "prompt takes.",
    ),
    (
        "decode",
        "Writing the answer, one token after another: bound by memory, so small files win. It "
        "decides how fast the answer runs over the screen.",
    ),
    (
        "peak RSS",
        "The most memory that a process needed which only loads and runs the artefact, its "
        "libraries included.",
    ),
    (
        "± ",
        "One standard error: the same measurement on other text of this kind would land within "
        "twice that, nineteen times in twenty.",
    ),
)

GLOSSARY = (
    ("Numbers", NUMBER_TERMS),
    ("Methods", METHOD_TERMS),
    ("Formats", [term for face in faces().values() for term in face.terms]),
    ("Measures", MEASURES),
)


def _floats() -> dict[str, str]:
    """The short names of the backends that have a float model of their own, by its node."""
    base = BACKENDS[YARDSTICK].float_model
    return {
        BACKENDS[name].float_model.node: face.short
        for name, face in faces().items()
        if BACKENDS[name].float_model != base
    }


def steps() -> Terms:
    """How artefacts come to be, in order."""
    floats = _floats()
    once = " and ".join(f"once for all {short} artefacts" for short in floats.values())
    return (
        ("source", "the model is fetched, and its digest checked."),
        ("base", "it becomes a folder of FP16 weights in Hugging Face layout, with its tokenizer."),
        (
            "reference",
            "the base predicts every token of the evaluation's text; its probabilities are kept.",
        ),
        (
            "calibration",
            "a text that shares no line with the evaluation's is set aside, to learn from it what "
            "calibrated methods need to know.",
        ),
        (", ".join(floats), f"the base is exported {once}, without loss."),
        ("artefacts", "each is quantised from one of these, checked, hashed and put in its place."),
        (
            "evaluation",
            "each artefact, and the float model in each runtime, reads the same tokens and is "
            "compared with the reference.",
        ),
        ("report", "this page is written from the stored evaluations."),
    )


def workflow() -> str:
    """The same as a drawing, for Mermaid."""
    floats = _floats()
    lines = [
        'source --> base["base (FP16)"]',
        "base --> reference --> evaluation",
        "base --> calibration",
        *(f'base --> float_{place}["{node}"]' for place, node in enumerate(floats)),
    ]
    for name, face in faces().items():
        node = BACKENDS[name].float_model.node
        origin = f"float_{list(floats).index(node)}" if node in floats else "base"
        lines += [
            f'{origin} --> {name}["{face.short} artefacts"]',
            f"calibration -.-> {name}",
            f"{name} --> evaluation",
        ]
    body = "".join(f"    {line}\n" for line in [*lines, "evaluation --> report"])
    return f"```mermaid\nflowchart LR\n{body}```"


_SMALL_MODEL = 1_000_000_000


def off_grid_sentence(seed: int) -> str:
    """Why the base's weights are not those of its source, in one sentence."""
    return (
        "The base was moved off the 4-bit grid of its source by a function-preserving rescaling "
        f"(`off_grid`, seed {seed}), because the source is a 4-bit file, which a 4-bit format of "
        "the same kind would reproduce exactly and so seem free of loss: the base computes the "
        "same function, but its weights lie on no such grid."
    )


def runtime_effect(lineup: Lineup) -> str:
    """How far the float model in the other runtimes is from the base, if there are any."""
    others = lineup.baselines[1:]
    if not others:
        return ""
    worst = divergence(max(abs(kld(row)) for row in others))
    by = "next to nothing" if worst == "≈ 0" else f"a KL divergence of up to {worst}"
    return (
        "Rows in italics are the float model in each runtime. In quality they differ from the base "
        f"by {by}: that much is the runtime's doing, all beyond it is quantisation's. In speed, "
        "compare an artefact with the float model in its own runtime to see what quantisation "
        "gained, and with the base to see what both gained together."
    )


def small_model_sentence(base: Evaluation) -> str:
    """A caution for models of less than 10^9 parameters; nothing for others."""
    parameters = base.size.parameters
    if parameters >= _SMALL_MODEL:
        return ""
    return (
        f"This model has {parameters / 1e6:,.0f} million parameters. Small models have little "
        "redundancy and suffer more from 4 bits than large ones do: do not carry these verdicts "
        "over to a model of billions."
    )
