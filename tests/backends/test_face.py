"""The faces of the backends: complete, told apart, in the keys of reports and of nothing else."""

import ast
import re
from pathlib import Path

import pytest

from scripts.backends.face import face_modules, faces
from scripts.backends.format import all_formats
from scripts.backends.table import BACKENDS
from scripts.engine.build.sources import ROOT, source_digests
from scripts.evaluation.evaluate import Evaluate

_NAMES = re.compile(rf"(?<![.\w])({'|'.join(BACKENDS)})\b", re.IGNORECASE)
_ROOMS = ("cards", "chat", "demo", "evaluation", "harness", "recipe", "report")
_MAY_STAY = {
    # An example of a recipe's line, in a message.
    "scripts/recipe/artifacts.py": {"{format: gguf, type: q4_0}"},
}


def test_whoever_has_formats_has_a_face() -> None:
    assert list(faces()) == [name for name, one in BACKENDS.items() if one.formats]
    assert {kind.backend for kind in all_formats()} == set(faces())


@pytest.mark.parametrize("part", ["title", "runtime", "short", "colour", "marker"])
def test_faces_are_told_apart(part: str) -> None:
    values = [getattr(face, part) for face in faces().values()]
    assert len(set(values)) == len(values)


@pytest.mark.parametrize("name", faces())
def test_code_reads_path(name: str) -> None:
    face = faces()[name]
    if face.language == "python":
        tree = compile(face.code, name, "exec", ast.PyCF_ONLY_AST)
        read = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    else:
        read = set(re.findall(r"\w+", face.code))
    assert "path" in read
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in face.colour)


def test_faces_are_in_the_keys_of_reports_alone() -> None:
    """A colour or a snippet makes a report, and neither an artefact nor a figure."""
    modules = set(face_modules())
    for kind in all_formats():
        assert not modules & set(source_digests(kind.__module__))
    for backend in BACKENDS:
        stage = Evaluate(artifact="x", backend=backend)
        assert not modules & set(source_digests(type(stage).__module__, *stage.reaches()))
    assert modules <= set(source_digests("scripts.report.write_report", *face_modules()))


def _strings(source: str) -> list[str]:
    """The string constants of a module, docstrings aside."""
    tree = ast.parse(source)
    texts = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts
    ]


def test_nothing_outside_the_backends_names_one() -> None:
    """What people see of a backend comes from its face, what runs it from the table."""
    named = []
    for path in [ROOT / "dodo.py", *(one for room in _ROOMS for one in _sources(room))]:
        name, text = path.relative_to(ROOT).as_posix(), path.read_text()
        strings = _strings(text) if path.suffix == ".py" else text.splitlines()
        stay = _MAY_STAY.get(name, set())
        named += [f"{name}: {one}" for one in strings if _NAMES.search(one) and one not in stay]
    assert named == []


def _sources(room: str) -> list[Path]:
    folder = ROOT / "scripts" / room
    return [one for one in folder.rglob("*") if one.suffix in (".py", ".jinja", ".css", ".js")]
