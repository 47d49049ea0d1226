"""Memory that was freed goes back to the system: the C library keeps what lies between pieces that
are in use, and weights of one layer after another leave many such holes."""

import contextlib
import ctypes

IN_NO_KEY = "it says where memory lies, and makes no bytes"


def give_back() -> None:
    """To be called after much was freed (malloc_trim of glibc; another C library has none)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
