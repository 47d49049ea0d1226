"""What a GGUF file consists of."""

from collections import Counter
from pathlib import Path

from gguf import GGUFReader, LlamaFileType

from scripts.backends.inventory import Inventory

_K_BLOCK = 256


def inventory(artifact: Path) -> Inventory:
    """Of the file `artifact`; a k-quant that its widths did not allow is noted."""
    types, notes = _types(artifact)
    return Inventory(artifact.stat().st_size, types, tuple(notes))


def _types(file: Path) -> tuple[Counter[str], list[str]]:
    reader = GGUFReader(file)
    matrices = [tensor for tensor in reader.tensors if len(tensor.shape) > 1]
    types = Counter(str(tensor.tensor_type.name) for tensor in matrices)
    field = reader.get_field("general.file_type")
    wanted = LlamaFileType(field.contents()).name.removeprefix("MOSTLY_") if field else ""
    narrow = [tensor for tensor in matrices if int(tensor.shape[0]) % _K_BLOCK]
    if "_K" not in wanted or not narrow:
        return types, []
    others = sorted({tensor.tensor_type.name for tensor in narrow})
    widths = sorted({int(tensor.shape[0]) for tensor in narrow})
    note = (
        f"{len(narrow)} of {len(matrices)} matrices are stored as {' or '.join(others)}, not as a "
        f"k-quant: their {', '.join(map(str, widths))} columns do not divide by {_K_BLOCK}."
    )
    return types, [note]
