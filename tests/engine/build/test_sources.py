"""The modules that a stage reaches: every form of import, and nothing else."""

import ast
import hashlib
import importlib

import pytest

from scripts.engine.build.sources import (
    ROOT,
    SPOKEN,
    imported_names,
    scan_source,
    source_digests,
    work_of,
)
from scripts.stage import Stage


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import scripts.a.b", "scripts.a.b"),
        ("from scripts.a import b", "scripts.a.b"),
        ("from scripts.a.b import C", "scripts.a.b"),
        ("def f():\n    from scripts.a import b", "scripts.a.b"),
        ("from . import sibling", "scripts.room.sibling"),
        ("from ..a import b", "scripts.a.b"),
    ],
)
def test_forms_of_imports(source: str, expected: str) -> None:
    assert expected in imported_names(ast.parse(source), "scripts.room.module", False)


def test_other_packages_are_told_apart() -> None:
    said = scan_source(b"import json\nimport scriptsmith.x\ny = 'scripts'", "scripts.m", False)
    assert (said.modules, said.packages) == ([], ["scriptsmith"])


def test_imports_for_the_type_checker_and_in_what_speaks_are_none() -> None:
    source = b"""
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import torch
class S(Stage):
    def label(self): import rich_thing
    def run(self): import numpy as np
"""
    assert scan_source(source, "scripts.m", False).packages == ["numpy"]


def test_a_stage_reaches_its_helpers_and_not_the_engine() -> None:
    reached = source_digests("scripts.sources.fetch")
    assert {"scripts.sources.fetch", "scripts.sources.hub"} <= set(reached)
    assert not [name for name in reached if name.startswith("scripts.engine")]
    assert "scripts.stage" not in reached  # IN_NO_KEY


def test_templates_and_styles_count_with_their_package() -> None:
    reached = source_digests("scripts.report.write_report")
    for name in ("page.html.jinja", "parts.jinja", "style.css", "page.js"):
        file = ROOT / "scripts" / "report" / "web" / name
        assert (
            reached[f"scripts.report.web/{name}"] == hashlib.sha256(file.read_bytes()).hexdigest()
        )
    assert not [name for name in source_digests("scripts.sources.fetch") if "/" in name]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = 1", "# why\nx = 1"),
        ('"""A."""\nx = 1', '"""B."""\nx = 1'),
        ('def f():\n    """A."""\n    return 1', 'def f():\n    """B."""\n    return 1'),
        ("class S(Stage):\n    def label(self): return 'a'", "class S(Stage):\n    pass"),
        ("class S(Stage):\n    def forecast(self): return 3", "class S(Stage):\n    pass"),
        ("class S(Stage):\n    def check(self): import scripts.a", "class S(Stage):\n    pass"),
        ("if TYPE_CHECKING:\n    import scripts.a\nx = 1", "pass\nx = 1"),
    ],
)
def test_what_makes_no_bytes_is_in_no_key(before: str, after: str) -> None:
    one, two = work_of(before), work_of(after)
    assert one is not None
    assert two is not None
    assert ast.unparse(one) == ast.unparse(two)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = 1", "x = 2"),
        ("class S(Stage):\n    def run(self): return 1", "class S(Stage):\n    pass"),
        ("def label(): return 'a'", "def label(): return 'b'"),
        ("x = 'text'", "x = 'other'"),
    ],
)
def test_all_else_is(before: str, after: str) -> None:
    one, two = work_of(before), work_of(after)
    assert one is not None
    assert two is not None
    assert ast.unparse(one) != ast.unparse(two)


def test_a_module_may_say_that_it_is_in_no_key() -> None:
    assert work_of("import scripts.a\nIN_NO_KEY = 'it prints'") is None


def test_methods_that_speak_are_those_of_stages_alone() -> None:
    """No other class has a method of such a name: it would be left out of the key by mistake."""
    for path in (ROOT / "scripts").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ClassDef):
                continue
            names = {one.name for one in node.body if isinstance(one, ast.FunctionDef)}
            if names & SPOKEN:
                module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                kind = getattr(importlib.import_module(module), node.name)
                assert issubclass(kind, Stage), f"{module}: {node.name}"
