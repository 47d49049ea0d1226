"""Which modules of this project does a module reach through its imports, and what do they say?

The answer is part of the action key: editing a stage's module, or one that it imports, makes
its targets stale; editing any other module does not. Imports inside functions count. So do
string constants that spell a module of the project, since that is how lazy tables name them.
A package's templates, style sheets and scripts count with its `__init__`.
"""

import ast
import hashlib
import json
import re
from functools import cache
from pathlib import Path

PACKAGE = __name__.partition(".")[0]
ROOT = Path(__file__).resolve().parent.parent.parent
_DATA = (".css", ".jinja", ".js")
_MODULE_NAME = re.compile(rf"({PACKAGE}(?:\.\w+)+)(?::\w+)?")


def _file_of(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _names_in(tree: ast.AST, module: str, is_package: bool) -> set[str]:
    """Every dotted name that might be a module which the source of `module` imports."""
    found: set[str] = set()
    home = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = home.split(".")[: len(home.split(".")) - (node.level - 1)] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found.update([base, *(f"{base}.{alias.name}" for alias in node.names)])
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            match = _MODULE_NAME.fullmatch(node.value)
            if match:
                found.add(match.group(1))
    return {name for name in found if name.partition(".")[0] == PACKAGE}


class ImportCache:
    """Remembers the imports of each source text by its digest, on disk, to spare the parsing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._known: dict[str, list[str]] = json.loads(path.read_text())
        except (OSError, ValueError):
            self._known = {}
        self._new = False

    def imports(self, module: str, file: Path) -> tuple[str, list[str]]:
        """The digest of the module's source and the project's modules that it imports."""
        source = file.read_bytes()
        digest = hashlib.sha256(source).hexdigest()
        key = f"{module} {digest}"
        if key not in self._known:
            names = _names_in(ast.parse(source), module, file.name == "__init__.py")
            self._known[key] = sorted(names)
            self._new = True
        return digest, self._known[key]

    def save(self) -> None:
        """Write what was learnt; a failure to do so costs only time."""
        if self._new:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                fresh = self._path.with_suffix(".tmp")
                fresh.write_text(json.dumps(self._known))
                fresh.rename(self._path)
            except OSError:
                return
            self._new = False


_CACHE = ImportCache(ROOT / "cache" / "state" / "imports.json")


@cache
def _direct(module: str) -> tuple[str, tuple[str, ...]] | None:
    file = _file_of(module)
    if file is None:
        return None
    digest, names = _CACHE.imports(module, file)
    return digest, tuple(names)


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
def source_digests(module: str) -> dict[str, str]:
    """SHA-256 of the source of `module` and of each module of the project that it reaches.

    A package's `__init__` counts where the package or something inside it is imported; what
    a package's `__init__` finds by discovery at run time does not.
    """
    digests: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in digests:
            continue
        found = _direct(name)
        if found is None:
            continue
        digests |= {name: found[0], **_data_files(name)}
        waiting.extend([*found[1], *_parents(name)])
    _CACHE.save()
    return dict(sorted(digests.items()))


def forget_sources() -> None:
    """Look at the files again: used after a stage ran, to see whether they were edited."""
    _direct.cache_clear()
    _data_files.cache_clear()
    source_digests.cache_clear()
