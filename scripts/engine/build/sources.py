"""Which modules of this project does the work of a stage reach, and what do they say?

The answer is part of the action key: editing a kernel makes the targets of the stages that reach it
stale; editing any other module does not. Only what can change bytes counts, so a module is hashed
as its syntax tree without comments, docstrings, blocks under `if TYPE_CHECKING:`, and the methods
in `SPOKEN` of its classes, which speak to people. A module that defines IN_NO_KEY, with the reason
as its text, is neither hashed nor followed. Imports inside functions count. A package's templates,
style sheets and scripts count with its `__init__`.
"""

import ast
import hashlib
import json
from functools import cache
from pathlib import Path

PACKAGE = __name__.partition(".")[0]
ROOT = Path(__file__).resolve().parents[3]
SPOKEN = frozenset(
    {
        *("alternatives", "check", "choice", "describe", "difference", "forecast", "label"),
        *("others", "takes", "words"),
    }
)
"""Methods of stages that make no bytes: labels, forecasts, and looking at what was made."""

_MARK = "IN_NO_KEY"
_DATA = (".css", ".jinja", ".js")
_NOTHING = ast.Pass()


def module_file(module: str) -> Path | None:
    """Where a module or a package of the project lies; None where there is none of that name."""
    path = ROOT.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


class _Work(ast.NodeTransformer):
    """Takes out of a tree what can't change bytes."""

    def visit_If(self, node: ast.If) -> ast.AST:
        """Imports for the type checker alone."""
        if ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            return _NOTHING
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Without its docstring."""
        return self._without_docstring(node)

    def visit_Module(self, node: ast.Module) -> ast.AST:
        """Without its docstring."""
        return self._without_docstring(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Without its docstring and what speaks to people."""
        node.body = [
            one
            for one in node.body
            if not (isinstance(one, ast.FunctionDef) and one.name in SPOKEN)
        ] or [_NOTHING]
        return self._without_docstring(node)

    def _without_docstring(self, node: ast.FunctionDef | ast.Module | ast.ClassDef) -> ast.AST:
        body = [one for one in node.body if not _is_text(one)]
        node.body = body or ([] if isinstance(node, ast.Module) else [_NOTHING])
        return self.generic_visit(node)


def _is_text(node: ast.stmt) -> bool:
    """Whether a statement is a string alone, as docstrings are."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def work_of(source: str | bytes) -> ast.Module | None:
    """The part of a module that can change bytes; None where it says that it is in no key."""
    tree = ast.parse(source)
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == _MARK:
            return None
    stripped = _Work().visit(tree)
    assert isinstance(stripped, ast.Module)
    return stripped


def imported_names(tree: ast.AST, module: str, is_package: bool) -> set[str]:
    """Every dotted name that might be a module which the source of `module` imports."""
    names: set[str] = set()
    home = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = home.split(".")[: len(home.split(".")) - (node.level - 1)] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names.update([base, *(f"{base}.{alias.name}" for alias in node.names)])
    return {name for name in names if name.partition(".")[0] == PACKAGE}


class ScanCache:
    """Remembers what each source text says, by its digest, on disk, to spare the parsing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        scanner = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
        try:
            known = json.loads(path.read_text())
            self._known: dict[str, list[str]] = known["scans"] if known["by"] == scanner else {}
        except (OSError, ValueError, KeyError, TypeError):
            self._known = {}
        self._scanner, self._new = scanner, False

    def scan(self, module: str, file: Path) -> tuple[str, list[str]] | None:
        """The digest of what the module does, and the project's modules that it imports; None
        where it is in no key."""
        source = file.read_bytes()
        key = f"{module} {hashlib.sha256(source).hexdigest()}"
        if key not in self._known:
            work, names = work_of(source), list[str]()
            if work is not None:
                text = hashlib.sha256(ast.unparse(work).encode()).hexdigest()
                found = imported_names(work, module, file.name == "__init__.py")
                names = [text, *sorted(found)]
            self._known[key] = names
            self._new = True
        digest, *imports = self._known[key] or [""]
        return (digest, imports) if digest else None

    def save(self) -> None:
        """Write what was learnt; a failure to do so costs only time."""
        if self._new:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                fresh = self._path.with_suffix(".tmp")
                fresh.write_text(json.dumps({"by": self._scanner, "scans": self._known}))
                fresh.rename(self._path)
            except OSError:
                return
            self._new = False


_CACHE = ScanCache(ROOT / "cache" / "state" / "imports.json")


@cache
def _direct(module: str) -> tuple[str, tuple[str, ...]] | None:
    file = module_file(module)
    scanned = None if file is None else _CACHE.scan(module, file)
    return None if scanned is None else (scanned[0], tuple(scanned[1]))


@cache
def _data_files(package: str) -> dict[str, str]:
    """SHA-256 of the files in the package's folder that are no Python, by `package/name`."""
    folder = ROOT.joinpath(*package.split("."))
    return {
        f"{package}/{file.name}": hashlib.sha256(file.read_bytes()).hexdigest()
        for file in (folder.iterdir() if folder.is_dir() else ())
        if file.suffix in _DATA and not file.name.startswith(".")
    }


def _parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


@cache
def source_digests(*modules: str) -> dict[str, str]:
    """SHA-256 of what each of `modules` does, and each module of the project that they reach.

    A package's `__init__` counts where the package or something inside it is imported; what
    is found by its name at run time does not: a stage names it in `reaches`.
    """
    digests: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in digests:
            continue
        direct = _direct(name)
        if direct is None:
            continue
        digests |= {name: direct[0], **_data_files(name)}
        waiting.extend([*direct[1], *_parents(name)])
    _CACHE.save()
    return dict(sorted(digests.items()))


def forget_sources() -> None:
    """Look at the files again: used after a stage ran, to see whether they were edited."""
    _direct.cache_clear()
    _data_files.cache_clear()
    source_digests.cache_clear()
