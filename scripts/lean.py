"""A process of its own for each stage makes imports count: what can be left out of them."""

import gc
import sys

IN_NO_KEY = "it spares imports, and makes no bytes"

_OBJECTS_BETWEEN_COLLECTIONS = 50_000
_USUAL = gc.get_threshold()


def start_lean() -> None:
    """To be called before anything large is imported; saves 0.4 to 1.5 s with transformers.

    Importing makes many objects and hardly any garbage. Where scikit-learn is installed,
    transformers imports it for one way of decoding that nothing here uses.
    """
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    sys.modules.setdefault("sklearn", None)  # type: ignore[arg-type]


def imports_are_done() -> None:
    """From here on objects may hold much memory: what is garbage is looked for as often as ever."""
    gc.set_threshold(*_USUAL)
