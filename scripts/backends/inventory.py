"""What an inventory of an artefact tells, whatever its backend."""

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class Inventory:
    """`weight_bytes`: of the files that hold weights; `types`: how many weight tensors are stored
    in each type; `notes`: sentences for the report, such as on tensors that fell back."""

    weight_bytes: int
    types: Counter[str]
    notes: tuple[str, ...] = ()
