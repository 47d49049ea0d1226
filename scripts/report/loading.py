"""How to load each artefact: code that a test takes out of the report and runs."""

import json
from collections.abc import Iterator, Mapping, Sequence

import yaml

from scripts.backends.face import Face, face_of, faces
from scripts.report.facts import Facts
from scripts.report.lineup import Lineup, code
from scripts.report.parts import Code, Paragraph, Part, Section, Subtitle, Table

_LOADING = """\
Run these from the folder that this page lies in. They continue a plain text, which works with \
every model; an instruction-tuned one answers better to its chat template."""
_EMBEDDING = """\
Run these from the folder that this page lies in. They embed two sentences and print how similar \
they are."""
_CHOOSING = ("format", "type", "bits", "method")
# A language's name, what declares a variable, what ends a statement, what begins a comment.
_LANGUAGES = {"python": ("Python", "", "", "#"), "javascript": ("JavaScript", "const ", ";", "//")}


def loading(facts: Facts, lineup: Lineup, folder: str) -> Section:
    """For each runtime that has artefacts: which, what to install, the code, a remark.

    `folder` is that of the artefacts with a slash at its end, from where the page lies.
    """
    parts = (
        Paragraph(_EMBEDDING if lineup.base.embedded else _LOADING),
        *_parts(facts, lineup, folder),
    )
    return Section("How to load each one", parts, "How to load them")


def _parts(facts: Facts, lineup: Lineup, folder: str) -> Iterator[Part]:
    for backend, usual in faces().items():
        face = face_of(backend, encoder=True) if lineup.base.embedded else usual
        own = [row for row in lineup.offered if row.backend == backend]
        if not own:
            continue
        paths = [f"{folder}{row.artifact}" for row in own]
        lines = [recipe_line(facts.artifacts[row.artifact]) for row in own]
        rows = zip(map(code, paths), (row.label for row in own), map(code, lines), strict=True)
        yield Subtitle(face.runtime)
        header = ("artefact", "is", "in the recipe")
        yield Table(f"Artefacts for {face.runtime}", header, tuple(rows))
        yield Paragraph(code(face.install))
        language = _LANGUAGES[face.language][0]
        yield Code(face.language, f"{language} for {face.runtime}", snippet(face, paths))
        yield Paragraph(face.remark)


def snippet(face: Face, paths: Sequence[str]) -> str:
    """Code that loads the first of `paths` and completes a sentence; the others are named."""
    _, declares, ends, remarks = _LANGUAGES[face.language]
    first, *others = (f"{declares}path = {json.dumps(path)}{ends}" for path in paths)
    lines = [first, *(f"{remarks} {other}" for other in others)]
    imports, _, rest = face.code.partition("\n\n")
    return "\n".join([imports, "", *lines, "", rest])


def recipe_line(line: Mapping[str, object]) -> str:
    """A line of the recipe as it may stand there, what chooses the format first."""
    options = {name: line[name] for name in (*_CHOOSING, *line) if name in line}
    text: str = yaml.safe_dump(options, default_flow_style=True, sort_keys=False, width=10**6)
    return text.strip()
