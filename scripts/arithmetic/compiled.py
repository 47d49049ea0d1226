"""How loops are compiled, and where the result is kept.

numba keeps compiled code beside the source of its function and drops it when that file changes; but
what the function calls in other files is compiled into it. So the folder has the digest of all of
them in its name, and an edit of one is an edit of all.
"""

import hashlib
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import InTreeCacheLocator

_ROOT = Path(__file__).resolve().parents[1]
_FOLDERS = (_ROOT / "arithmetic", _ROOT / "methods" / "kernels")


def sources_digest() -> str:
    """Of all modules with loops that are compiled: these call each other alone."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in _FOLDERS for path in folder.glob("*.py")):
        digest.update(f"{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


_DIGEST = sources_digest()


class BySources(InTreeCacheLocator):
    """Beside the source, in a folder for what all the sources are now."""

    def get_cache_path(self) -> str:
        """As numba asks for it."""
        inherited: Any = super().get_cache_path
        return str(Path(inherited()) / f"compiled-{_DIGEST}")

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> Any:
        """None for what is compiled elsewhere, which numba keeps in its own way."""
        if Path(py_file).resolve().parent not in _FOLDERS:
            return None
        inherited: Any = super().from_function
        return inherited(py_func, py_file)


_settings: Any = numba.config
_settings.CACHE_LOCATOR_CLASSES = ",".join(
    [
        f"{__name__}.{BySources.__name__}",
        *("UserProvidedCacheLocator", "InTreeCacheLocator", "UserWideCacheLocator"),
    ]
)

COMPILED: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy"}
"""For `numba.njit`."""
