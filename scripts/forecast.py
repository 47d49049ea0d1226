"""What a stage will need of the machine, said before it runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

IN_NO_KEY = "it says what a stage will need, and makes no bytes"


@dataclass(frozen=True)
class Forecast:
    """`memory`: bytes that the stage's processes have for themselves, mapped files aside.

    `disk`: bytes that it writes. `about` is for the stages that read what it makes, so that they
    can say theirs before it is there; the engine hands it on and does not look at it.
    """

    memory: int
    disk: int
    about: Any = None


Inputs = Mapping[str, Forecast | None]
"""The forecasts of a stage's inputs by name; None where nothing is known of one."""
