"""The model card: README.md with the YAML front matter that the Hugging Face hub reads.

Fields of the front matter: huggingface_hub's ModelCardData.
"""

from huggingface_hub import ModelCardData

from scripts.backends.face import face_of
from scripts.cards.subject import Origin, Subject
from scripts.evaluation.result import Evaluation
from scripts.report.lineup import Lineup, distance
from scripts.report.loading import recipe_line, snippet
from scripts.report.measures import measures_of
from scripts.report.numbers import divergence
from scripts.report.verdicts import verdict
from scripts.report.yardsticks import cosine, yardstick_of


def write_card(subject: Subject, lineup: Lineup, row: Evaluation, origin: Origin) -> str:
    """The card of one artefact, as Markdown."""
    parts = (
        f"---\n{front_matter(subject, row)}\n---",
        f"# {subject.model}, {row.label}",
        _opening(subject, row),
        "## Figures",
        _figures(lineup, row),
        "## How to load it",
        _loading(row, origin),
        "## How it was made",
        _provenance(subject, row, origin),
    )
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def front_matter(subject: Subject, row: Evaluation) -> str:
    """YAML between the dashes, without them."""
    face = face_of(row.backend, encoder=row.embedded is not None)
    tags = ["quantised", *face.tags, *subject.card.tags]
    data = ModelCardData(
        base_model=subject.base_model,
        license=subject.card.license,
        language=list(subject.card.language) or None,
        library_name=face.library,
        pipeline_tag="feature-extraction" if row.embedded else "text-generation",
        tags=list(dict.fromkeys(tags)),
        base_model_relation="quantized" if subject.base_model else None,
        quantized_by=subject.card.quantized_by,
    )
    text: str = data.to_yaml()
    return text.strip()


def _opening(subject: Subject, row: Evaluation) -> str:
    name = f"[{subject.base_model}](https://huggingface.co/{subject.base_model})"
    of = name if subject.base_model else subject.model
    own = yardstick_of(row)
    far = f"mean {own.name} {own.show(distance(row))}"
    nats = "" if row.embedded else " nats"
    return (
        f"{of}, quantised: {row.label}. Against FP16 its verdict is **{verdict(row)}**: "
        f"{far}{nats}, {own.closeness(row)}."
    )


def _figures(lineup: Lineup, row: Evaluation) -> str:
    """A table of this artefact beside FP16."""
    base, float_model = lineup.base, lineup.float_model(row)
    measures = [one for one in measures_of(lineup) if one.word is None]
    rows = (
        ("", "this", base.label),
        ("---", "---:", "---:"),
        *((one.header, one.text(row, lineup), one.text(base, lineup)) for one in measures),
    )
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    over = (
        f"Over {row.embeddings.sentences:,} sentences of each text{_on_texts(row)}; the cosine is "
        "that with FP16's embeddings. Speeds were taken on "
        if row.embedded
        else f"Over {row.tokens_scored:,} predictions{_on_texts(row)}; KLD is the KL divergence "
        "from FP16 in nats. Speeds were taken on "
    )
    return (
        f"{table}\n\n{over}"
        f"{row.machine.cpu} with {row.speed.threads} threads; “own float” is {float_model.label}."
    )


def _on_texts(row: Evaluation) -> str:
    """Of what kinds of text, where there are several."""
    if row.embedded is not None and len(row.embedded.texts) > 1:
        cosines = (f"{one.kind} {cosine(one.quality.cosine.value)}" for one in row.embedded.texts)
        return f" of several kinds (cosine: {', '.join(cosines)}; above stands the worst)"
    if len(row.texts) < 2:
        return ""
    each = (f"{one.kind} {divergence(one.quality.kld_mean.value)}" for one in row.texts)
    return f" on texts of several kinds (KLD: {', '.join(each)}; above stands the worst)"


def _loading(row: Evaluation, origin: Origin) -> str:
    """The card lies in an artefact that is a folder, and beside one that is a file."""
    face = face_of(row.backend, encoder=row.embedded is not None)
    path = row.artifact.rpartition("/")[2] if origin.kind == "file" else "."
    code = snippet(face, [path]).strip()
    return f"`{face.install}`\n\n```{face.language}\n{code}\n```\n\n{face.remark}" + (
        "\n\nOllama: `ollama create NAME -f` and the path of the Modelfile beside it. LM Studio: "
        "`lms import` and the path of the file, which has its chat template in it."
        if face.ollama
        else ""
    )


def _provenance(subject: Subject, row: Evaluation, origin: Origin) -> str:
    line = recipe_line(subject.artifacts[row.artifact])
    packages = ", ".join(f"{name} {version}" for name, version in origin.part("packages").items())
    files = "\n".join(
        f"| `{file.path}` | {file.size:,} | `{file.sha256}` |" for file in origin.files
    )
    return (
        f"quantmake built it from `{subject.source_name}` by the line `{line}` of "
        f"`{subject.recipe}`, with {packages}. Its entry in the lock has the key `{origin.key}`. "
        f"The same line and versions give these bytes again:\n\n"
        f"| file | bytes | SHA-256 |\n| --- | ---: | --- |\n{files}\n\n"
        f"With `{subject.recipe}` and its lock in a clone of quantmake, this makes them, or says "
        f"what differs:\n\n```sh\ndoit --locked {subject.folder}/{row.artifact}\n```"
    )
