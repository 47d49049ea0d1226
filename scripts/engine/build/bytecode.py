"""Compiled code that is older than its source is not run.

Python takes a `.pyc` for current where its source has the size and the whole second of modification
that it was compiled from. An edit within that second, by a script or by `git checkout`, would run
the code before it under the key of the code after it.
"""

from collections.abc import Iterable
from importlib.util import cache_from_source
from pathlib import Path

from scripts.engine.build.sources import module_file


def drop_older_bytecode(modules: Iterable[str]) -> None:
    """Remove the compiled files of `modules` that were written before their sources last changed.

    Names without a module, such as those of a package's data, are passed over. Raises OSError where
    such a file can't be removed.
    """
    for module in modules:
        source = module_file(module)
        if source is None:
            continue
        for level in ("", "1", "2"):
            compiled = cache_from_source(str(source), optimization=level)
            _drop_if_older(Path(compiled), source)


def _drop_if_older(compiled: Path, source: Path) -> None:
    try:
        written = compiled.stat().st_mtime_ns
    except OSError:
        return
    state = source.stat()
    if written <= max(state.st_mtime_ns, state.st_ctime_ns):
        compiled.unlink(missing_ok=True)
