"""What people see of a backend: in reports, on charts, on model cards."""

import pkgutil
from dataclasses import dataclass, replace
from typing import Literal

from scripts.backends.table import BACKENDS

Terms = tuple[tuple[str, str], ...]
"""Words and what they mean, for somebody who has never quantised a model."""


@dataclass(frozen=True)
class Face:
    """A backend as people see it.

    `title` says what one deploys with, `runtime` what the code below it runs, `short` is for
    legends. `colour` is for light and for dark paper, `marker` one of matplotlib's. `code` loads
    what the variable `path` names and completes a sentence, in `language`; `install` is what it
    needs, `remark` what else there is to say of it. `library` and `tags` are the hub's. `terms`
    explain the backend's kind of files. `ollama` says whether Ollama takes the files, by a
    Modelfile. `embedding` is what an encoder has for `install`, `code` and `remark`.
    """

    title: str
    runtime: str
    short: str
    colour: tuple[str, str]
    marker: str
    install: str
    code: str
    remark: str
    library: str
    tags: tuple[str, ...]
    terms: Terms
    language: Literal["python", "javascript"] = "python"
    ollama: bool = False
    embedding: tuple[str, str, str] | None = None


def face_modules() -> tuple[str, ...]:
    """The modules of all faces, for `Stage.reaches`."""
    return tuple(one.face.partition(":")[0] for one in BACKENDS.values() if one.face)


def face_of(backend: str, *, encoder: bool = False) -> Face:
    """The face of a backend that has artefacts; of an encoder, with the code that embeds."""
    face: Face = pkgutil.resolve_name(BACKENDS[backend].face)
    if encoder and face.embedding is not None:
        install, code, remark = face.embedding
        return replace(face, install=install, code=code, remark=remark, ollama=False)
    return face


def faces() -> dict[str, Face]:
    """By the names of the backends, in the order of the table."""
    return {name: face_of(name) for name, one in BACKENDS.items() if one.face}
