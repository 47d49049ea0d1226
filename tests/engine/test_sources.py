"""The modules that a stage reaches: every form of import, and nothing else."""

import ast
import hashlib

import pytest

from scripts.engine.sources import ROOT, _names_in, source_digests


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import scripts.a.b", "scripts.a.b"),
        ("from scripts.a import b", "scripts.a.b"),
        ("from scripts.a.b import C", "scripts.a.b"),
        ("def f():\n    from scripts.a import b", "scripts.a.b"),
        ("from . import sibling", "scripts.room.sibling"),
        ("from ..a import b", "scripts.a.b"),
        ("TABLE = {'x': 'scripts.a.b'}", "scripts.a.b"),
        ("STAGE = 'scripts.a.b:Class'", "scripts.a.b"),
    ],
)
def test_forms_of_imports(source: str, expected: str) -> None:
    assert expected in _names_in(ast.parse(source), "scripts.room.module", False)


def test_other_packages_do_not_count() -> None:
    found = _names_in(
        ast.parse("import json\nimport scriptsmith\nx = 'scripts'"), "scripts.m", False
    )
    assert found == set()


def test_a_stage_reaches_its_helpers_and_not_the_engine() -> None:
    reached = source_digests("scripts.sources.fetch")
    assert {"scripts.sources.fetch", "scripts.sources.hub", "scripts.stage"} <= set(reached)
    assert not [name for name in reached if name.startswith("scripts.engine")]
    assert "scripts.formats" not in reached


def test_templates_and_styles_count_with_their_package() -> None:
    reached = source_digests("scripts.report.write_report")
    for name in ("page.html.jinja", "macros.jinja", "style.css", "page.js"):
        file = ROOT / "scripts" / "report" / "web" / name
        assert (
            reached[f"scripts.report.web/{name}"] == hashlib.sha256(file.read_bytes()).hexdigest()
        )
    assert not [name for name in source_digests("scripts.sources.fetch") if "/" in name]
