"""How the processes of stages start, and those that they start: they end with who started them, and
leave out imports that a process of its own would make count."""

import contextlib
import ctypes
import gc
import os
import signal
import sys

from scripts.progress import PIPE_VARIABLE

IN_NO_KEY = "it spares imports and ends processes, and makes no bytes"

_OBJECTS_BETWEEN_COLLECTIONS = 50_000
_USUAL = gc.get_threshold()
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def start_lean() -> None:
    """To be called before anything large is imported; saves 0.4 to 1.5 s with transformers.

    Importing makes many objects and hardly any garbage. Where scikit-learn is installed,
    transformers imports it for one way of decoding that nothing here uses. Below a build, the
    process ends with its parent, however that is killed.
    """
    if PIPE_VARIABLE in os.environ:
        _die_with_parent()
    collect_garbage_rarely()
    sys.modules.setdefault("sklearn", None)  # type: ignore[arg-type]


def collect_garbage_rarely() -> None:
    """To be called before many objects are made that stay: a graph of tasks, imports. Those that
    are there already are looked at no more."""
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)


def _die_with_parent() -> None:
    """Have the kernel end this process with the one that started it (Linux, prctl(2))."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def imports_are_done() -> None:
    """From here on objects may hold much memory: what is garbage is looked for as often as ever."""
    gc.set_threshold(*_USUAL)
