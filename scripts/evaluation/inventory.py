"""What an artefact consists of: bytes, parameters, bits per weight, types of its tensors."""

import importlib
from pathlib import Path

from scripts.backends.inventory import Inventory
from scripts.backends.table import BACKENDS
from scripts.evaluation.result import Size
from scripts.tensors.header import tensors_in

# They are written from these figures, so they can't be among them.
_PAGES = ("README.md", "bom.cdx.json", "provenance.intoto.json")


def count_parameters(base: Path) -> int:
    """Parameters of the base, a tied head counted once."""
    return sum(tensor.values for tensor in tensors_in(base).values())


def measure_size(backend: str, artifact: Path, base: Path) -> tuple[Size, tuple[str, ...]]:
    """The size record of an artefact, and sentences on it for the report."""
    module, _, name = BACKENDS[backend].inventory.partition(":")
    inventory: Inventory = getattr(importlib.import_module(module), name)(artifact)
    files = [artifact] if artifact.is_file() else [p for p in artifact.rglob("*") if p.is_file()]
    parameters = count_parameters(base)
    size = Size(
        bytes=sum(path.stat().st_size for path in files if path.name not in _PAGES),
        parameters=parameters,
        bits_per_weight=8 * inventory.weight_bytes / parameters,
        tensor_types=dict(sorted(inventory.types.items())),
    )
    return size, inventory.notes
