"""Which modules of this project does the work of a stage reach, what do they say, and which
packages do they import?

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
import sys
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

PACKAGE = __name__.partition(".")[0]
ROOT = Path(__file__).resolve().parents[3]
SPOKEN = frozenset(
    {
        *("alternatives", "check", "choice", "describe", "difference", "forecast", "label"),
        *("others", "refusal", "takes", "words"),
    }
)
"""Methods of stages that make no bytes: labels, forecasts, and looking at what was made."""

DISTRIBUTIONS = {
    "cyclonedx": "cyclonedx-python-lib",
    "google": "protobuf",
    "llama_cpp": "llama-cpp-python",
    "markdown_it": "markdown-it-py",
    "packageurl": "packageurl-python",
    "yaml": "PyYAML",
}
"""Distributions whose names are not those of their packages."""

NO_BYTES = frozenset({"psutil", "pydantic", "pydantic-core", "rich"})
"""Distributions that check options, look at the machine or speak to people."""

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
    return names


@dataclass(frozen=True)
class Scan:
    """What a module does, as the SHA-256 of its work, or "" where it is in no key; the modules of
    the project that it may import, and the top names of other packages that it imports."""

    digest: str
    modules: list[str]
    packages: list[str]


def scan_source(source: bytes, module: str, is_package: bool) -> Scan:
    """Look at the source of a module."""
    work = work_of(source)
    if work is None:
        return Scan("", [], [])
    names = imported_names(work, module, is_package)
    tops = {name.partition(".")[0] for name in names} - {PACKAGE, "", *sys.stdlib_module_names}
    ours = sorted(name for name in names if name.partition(".")[0] == PACKAGE)
    return Scan(hashlib.sha256(ast.unparse(work).encode()).hexdigest(), ours, sorted(tops))


class ScanCache:
    """Remembers what each source text says, by its digest, on disk, to spare the parsing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        scanner = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
        try:
            read = json.loads(path.read_text())
            scans = read["scans"] if read["by"] == scanner else {}
            self._known = {key: Scan(**scan) for key, scan in scans.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self._known = {}
        self._scanner, self._new = scanner, False

    def scan(self, module: str, file: Path) -> Scan:
        """What the module's file says."""
        source = file.read_bytes()
        key = f"{module} {hashlib.sha256(source).hexdigest()}"
        if key not in self._known:
            self._known[key] = scan_source(source, module, file.name == "__init__.py")
            self._new = True
        return self._known[key]

    def save(self) -> None:
        """Write what was learnt; a failure to do so costs only time."""
        if self._new:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                fresh = self._path.with_suffix(".tmp")
                scans = {key: asdict(scan) for key, scan in self._known.items()}
                fresh.write_text(json.dumps({"by": self._scanner, "scans": scans}))
                fresh.rename(self._path)
            except OSError:
                return
            self._new = False


_CACHE = ScanCache(ROOT / "cache" / "state" / "imports.json")


@cache
def _direct(module: str) -> Scan | None:
    """What a module says; None where there is none of that name, or it is in no key."""
    file = module_file(module)
    scan = None if file is None else _CACHE.scan(module, file)
    return scan if scan is not None and scan.digest else None


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
def _reached(*modules: str) -> dict[str, Scan]:
    """`modules` and each module of the project that they reach, by name.

    A package's `__init__` counts where the package or something inside it is imported; what
    is found by its name at run time does not: a stage names it in `reaches`.
    """
    reached: dict[str, Scan] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        scan = None if name in reached else _direct(name)
        if scan is not None:
            reached[name] = scan
            waiting.extend([*scan.modules, *_parents(name)])
    _CACHE.save()
    return reached


@cache
def source_digests(*modules: str) -> dict[str, str]:
    """SHA-256 of what each module does that `modules` reach, and of the data of packages."""
    digests: dict[str, str] = {}
    for name, scan in _reached(*modules).items():
        digests |= {name: scan.digest, **_data_files(name)}
    return dict(sorted(digests.items()))


@cache
def imported_packages(*modules: str) -> frozenset[str]:
    """The distributions that the modules import which `modules` reach, imports inside functions
    included."""
    tops = {top for scan in _reached(*modules).values() for top in scan.packages}
    return frozenset(DISTRIBUTIONS.get(top, top.replace("_", "-")) for top in tops) - NO_BYTES


def forget_sources() -> None:
    """Look at the files again: used after a stage ran, to see whether they were edited."""
    _direct.cache_clear()
    _data_files.cache_clear()
    _reached.cache_clear()
    source_digests.cache_clear()
    imported_packages.cache_clear()
