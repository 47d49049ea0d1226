"""How artefacts were made and measured: the steps, the yardstick, the machine."""

from collections.abc import Mapping, Sequence

from scripts.backends.face import faces
from scripts.backends.table import BACKENDS, YARDSTICK
from scripts.evaluation.encoder import BATCH
from scripts.evaluation.result import Speed
from scripts.report.facts import Facts, public
from scripts.report.lineup import Lineup, code
from scripts.report.parts import Code, Explanations, Paragraph, Section, Terms
from scripts.report.tables import repeats_table


def workflow(lineup: Lineup) -> Section:
    """From the source to this page, by the backends that have artefacts."""
    used = {row.backend for row in lineup.artifacts}
    shorts = {name: face.short for name, face in faces().items() if name in used}
    nodes = _float_nodes(shorts)
    drawing = Code("mermaid", "From the source to this page", _drawing(shorts, list(nodes)))
    parts = (drawing, Explanations(_steps(nodes, lineup), numbered=True))
    return Section("How the artefacts are made", parts, "How they are made")


def method(facts: Facts, lineup: Lineup) -> Section:
    """On what, by which definitions, on what machine."""
    parts = (
        Paragraph(_model(facts, lineup)),
        Paragraph(_quality(facts, lineup)),
        Paragraph(_timings(lineup)),
        repeats_table(lineup),
    )
    return Section("How it was measured", parts, "How it was measured")


def _float_nodes(shorts: Mapping[str, str]) -> dict[str, list[str]]:
    """The nodes that hold a float model for the artefacts of some backends, with the short names of
    these."""
    base = BACKENDS[YARDSTICK].float_model
    nodes: dict[str, list[str]] = {}
    for name, short in shorts.items():
        if BACKENDS[name].float_model != base:
            nodes.setdefault(BACKENDS[name].float_model.node, []).append(short)
    return nodes


def _steps(nodes: Mapping[str, Sequence[str]], lineup: Lineup) -> Terms:
    """How artefacts come to be, in order."""
    once = " and ".join(f"once for all {' and '.join(own)} artefacts" for own in nodes.values())
    exported = {", ".join(nodes): f"the base is exported {once}, without loss."} if nodes else {}
    embeds = lineup.base.embedded is not None
    steps = {
        "source": "the model is fetched, and its digest checked.",
        "base": "it becomes a folder of FP16 weights in Hugging Face layout, with its tokenizer.",
        "reference": "the base embeds the evaluation's sentences; its embeddings are kept."
        if embeds
        else "the base predicts every token of the evaluation's text; its probabilities are kept.",
        "calibration": "a text that shares no line with the evaluation's is set aside, to learn "
        "from it what calibrated methods need to know.",
        **exported,
        "artefacts": "each is quantised from one of these, checked, hashed and put in its place.",
        "evaluation": "each artefact, and the float model in each runtime, reads the same tokens "
        "and is compared with the reference.",
        "report": "this page is written from the stored evaluations.",
    }
    return tuple(steps.items())


def _drawing(shorts: Mapping[str, str], nodes: Sequence[str]) -> str:
    """The same for Mermaid."""
    lines = [
        "flowchart LR",
        'source --> base["base (FP16)"]',
        "base --> reference --> evaluation",
        "base --> calibration",
        *(f'base --> float{place}["{node}"]' for place, node in enumerate(nodes)),
    ]
    for name, short in shorts.items():
        node = BACKENDS[name].float_model.node
        origin = f"float{nodes.index(node)}" if node in nodes else "base"
        lines += [
            f'{origin} --> {name}["{short} artefacts"]',
            f"calibration -.-> {name}",
            f"{name} --> evaluation",
        ]
    return "\n    ".join([*lines, "evaluation --> report"]) + "\n"


def _model(facts: Facts, lineup: Lineup) -> str:
    """Which model, of what size, and what was done to it before anything else."""
    sentence = (
        f"The model is {code(facts.source_name)}, {lineup.base.size.parameters:,} parameters."
    )
    if facts.off_grid is None:
        return sentence
    return (
        f"{sentence} The base was moved off the 4-bit grid of its source by a function-preserving "
        f"rescaling (`off_grid`, seed {facts.off_grid}), because the source is a 4-bit file, which "
        "a 4-bit format of the same kind would reproduce exactly and so seem free of loss: the "
        "base computes the same function, but its weights lie on no such grid."
    )


def _quality(facts: Facts, lineup: Lineup) -> str:
    """On what text quality was measured, and by which definitions."""
    text = ""
    if one := facts.yardstick:
        texts = [
            f"{kind}: {code(public(part.text))}, lines {part.lines[0] + 1:,} to {part.lines[1]:,}"
            for kind, part in one.texts.items()
        ]
        are = "text is" if len(texts) == 1 else "texts are"
        much = f"{one.windows} windows of {one.context} tokens"
        if lineup.base.embedded:
            much = f"{one.sentences} sentences, evenly over its lines,"
        text = f"The {are} {'; '.join(texts)}; {much} of each. "
    if embedded := lineup.base.embedded:
        cut = (
            f"{embedded.truncated} were longer and cut" if embedded.truncated else "none is longer"
        )
        return (
            f"{text}Every row read the same token ids, at most {embedded.longest} a sentence "
            f"({cut}), in batches of {BATCH} as they come, padded to the longest. The cosine is "
            "that of a sentence's embedding with the base's, its error that of a mean over "
            "sentences; the ranking is Spearman's correlation between the cosines of all pairs of "
            "sentences of a text, by a row and by the base. The base's weights are FP16; they are "
            "computed with in FP32. llama.cpp runs as many of these at once as have 512 tokens "
            "together, its own default."
        )
    return (
        f"{text}Every row read the same token ids; "
        f"{lineup.base.tokens_scored:,} predictions were scored, those in the second half "
        "of each window, where the model has seen enough to predict from. Definitions are those of "
        "llama.cpp's `llama-perplexity --kl-divergence`: KLD is KL(FP16 ‖ row), from FP32 "
        "log-probabilities. The base's weights are FP16; they are computed with in FP32."
    )


def _timings(lineup: Lineup) -> str:
    """On what machine the timings were taken, and how."""
    timed = [row.speed for row in lineup.rows if row.is_timed]
    if lineup.base.embedded:
        what = (
            f"In batches are {BATCH} sentences at once, of all kinds of text alike, one by one is "
            "each alone; what pads and pools them is timed too, cutting texts into tokens is not"
        )
        return _on_machine(lineup, timed, what)
    longest = max(speed.decode_tokens for speed in timed)
    fewer = any(speed.decode_tokens < longest for speed in timed)
    what = (
        f"Prefill is {timed[0].prefill_tokens} tokens at once, decode "
        f"{longest} tokens one by one{' (fewer for the slow ones)' if fewer else ''}"
    )
    return _on_machine(lineup, timed, what)


def _on_machine(lineup: Lineup, timed: Sequence[Speed], what: str) -> str:
    """The machine, and `what` the figures are."""
    machine = lineup.base.machine
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    vnni = (
        " Integer kernels are this fast where there is VNNI (avx512_vnni or avx_vnni) alone."
        if lineup.base.embedded and any("vnni" in one for one in machine.features)
        else ""
    )
    return (
        f"Timings were taken on {machine.cpu} ({', '.join(machine.features)}), {machine.cores} "
        f"cores, {timed[0].threads} threads, in a process of its own for each row; {packages}. "
        "The rows took turns in every round, so that a busy moment slows all of them. "
        f"{what}; the figures are medians after a warm-up, with minimum, maximum and number of "
        "repeats below. Timings "
        f"belong to this machine and change from run to run; all other figures come out the same "
        f"again.{vnni}"
    )
