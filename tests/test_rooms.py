"""The rooms of `scripts/`: which may import which, read from the sources, lazy imports included."""

import ast
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

from scripts.engine.build.sources import ROOT, imported_names, module_file

HEAVY = {"torch", "transformers", "onnx", "onnxruntime", "numpy", "llama_cpp", "bitsandbytes"}


@cache
def imports() -> dict[str, set[str]]:
    """What each module of the project imports: modules of the project, and others' top packages."""
    graph = {}
    for path in sorted((ROOT / "scripts").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if is_package else parts)
        names = imported_names(ast.parse(path.read_text()), module, is_package)
        graph[module] = {
            one if module_file(one) else one.rpartition(".")[0]
            for one in names
            if one.startswith("scripts.")
        } - {module, "scripts"}
    return graph


def room(module: str) -> str:
    """The folder that a module lies in, as a package."""
    file = module_file(module)
    assert file is not None, module
    return ".".join(file.relative_to(ROOT).parent.parts)


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """One circle of a graph; empty where there is none."""
    done: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for other in sorted(graph.get(node, ())):
            if closed := visit(other, [*path, node]):
                return closed
        done.add(node)
        return []

    return next((closed for node in graph if (closed := visit(node, []))), [])


def test_no_circle_among_files() -> None:
    assert circle(imports()) == []


def test_no_circle_among_rooms() -> None:
    rooms: dict[str, set[str]] = {}
    for module, others in imports().items():
        rooms.setdefault(room(module), set()).update(room(one) for one in others)
    assert circle({name: others - {name} for name, others in rooms.items()}) == []


def test_a_circle_is_seen() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def within(module: str, package: str) -> bool:
    """Whether a module is a package or inside it."""
    return module == package or module.startswith(f"{package}.")


def backend_of(module: str) -> str:
    """The backend whose folder holds a module; empty where it is none's."""
    parts = module.split(".")
    is_backend = parts[:2] == ["scripts", "backends"] and len(parts) > 2
    path = Path(ROOT, *parts[:3])
    return parts[2] if is_backend and path.is_dir() else ""


def test_backends_never_import_one_another() -> None:
    assert not [
        (module, one)
        for module, others in imports().items()
        for one in others
        if backend_of(module) and backend_of(one) not in ("", backend_of(module))
    ]


@pytest.mark.parametrize("package", ["scripts.methods", "scripts.tensors"])
def test_kernels_and_files_know_neither_engine_nor_backends(package: str) -> None:
    assert not [
        (module, one)
        for module, others in imports().items()
        for one in others
        if within(module, package)
        and (within(one, "scripts.engine") or within(one, "scripts.backends"))
    ]


def test_engine_knows_no_stage_and_no_backend() -> None:
    """Of the project, it imports itself and what lies directly in `scripts/`."""
    assert not [
        (module, one)
        for module, others in imports().items()
        for one in others
        if within(module, "scripts.engine")
        and not within(one, "scripts.engine")
        and room(one) != "scripts"
    ]


def test_engine_imports_nothing_heavy() -> None:
    for path in (ROOT / "scripts/engine").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not HEAVY & {name.partition(".")[0] for name in names}, path
