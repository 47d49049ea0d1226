"""Loading an artefact by what its backend loads it with."""

import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from scripts.backends.table import BACKENDS
from scripts.errors import MachineError, QuantmakeError
from scripts.extras import command_for

Loaded = TypeVar("Loaded")


def load(backend: str, path: Path, entry: str, call: Callable[[Any], Loaded]) -> Loaded:
    """What `call` makes of the artefact at `path` with the object `entry`, `module:name`.

    Raises MachineError where the runtime is not installed, QuantmakeError where the artefact
    does not load; both name it.
    """
    try:
        loader = pkgutil.resolve_name(entry)
    except ImportError as error:
        raise MachineError(
            f"{path} needs the runtime of {backend}, which can't be imported ({error}); "
            f"install it with {command_for(BACKENDS[backend].packages)}"
        ) from None
    try:
        return call(loader)
    except Exception as error:  # each runtime raises its own kinds
        raise QuantmakeError(f"{path} does not load ({backend}): {error}") from error
