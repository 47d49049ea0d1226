"""`type: auto`: the types that cost least within a size, as the calibration predicts it."""

import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gguf import GGML_QUANT_SIZES, GGUFReader

from scripts.backends.gguf.blocks import BLOCK_TYPES, DAMPING, NESTED
from scripts.backends.gguf.imatrix import Means
from scripts.backends.gguf.importance import Importance, importances, values_of
from scripts.backends.gguf.llama import quantise
from scripts.backends.gguf.names import Matrix
from scripts.backends.sizes import least_error
from scripts.backends.weighing import estimated_losses
from scripts.calibration.in_order import in_order
from scripts.checkpoint import Checkpoints
from scripts.errors import QuantmakeError
from scripts.methods.allocation import Choice, TooSmallError, allocate
from scripts.methods.gptq import factor
from scripts.progress import Progress
from scripts.workers import available_cores, single_core_workers

_ALIGNMENT = 32  # of tensors in a GGUF file, in bytes
_NEW_METADATA = 256  # the quantisation's version, which llama.cpp adds
_FILE_TYPES = {"q4_k": "q4_k_s", "q5_k": "q5_k_s"}  # others have the name of their tensors


def quantise_within(
    inputs: Mapping[str, Path], out: Path, size: str | int, importance: Means | None
) -> str:
    """Write `out` by llama.cpp in the types that cost least within `size`: bytes, or a preset whose
    file is not to be exceeded. Returns how many bytes it has.

    `inputs` are the F16 file, the capture and the gradients; `importance` as `llama.quantise` takes
    it. Raises QuantmakeError where llama.cpp did not keep to the types.
    """
    f16 = inputs["f16"]
    budget = size if isinstance(size, int) else _size_of_preset(f16, size, out.parent)
    chosen = choose_types(f16, inputs["capture"], inputs["gradients"], budget)
    types = {name: choice.type for name, choice in chosen.items()}
    quantise(f16, out, f"MOSTLY_{_file_type(chosen).upper()}", importance=importance, types=types)
    written = out.stat().st_size
    if written > budget:
        out.unlink()
        raise QuantmakeError(
            f"type auto: llama.cpp made {written:,} bytes of the {budget:,} that were planned: it "
            "did not keep to the types that were chosen. Its log is above; allow more bytes."
        )
    return f"{written:,} bytes of {budget:,}"


def _size_of_preset(f16: Path, preset: str, scratch: Path) -> int:
    """Bytes of the file in a preset's type, without importance matrix; made in `scratch`."""
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".like-") as folder:
        file = Path(folder) / "like.gguf"
        quantise(f16, file, f"MOSTLY_{preset.upper()}")
        return file.stat().st_size


def choose_types(f16: Path, capture: Path, gradients: Path, max_bytes: int) -> dict[str, Choice]:
    """By tensor its type, so that the file has at most `max_bytes`.

    Tensors without a Hessian, such as norms, are counted as they are in the F16 file.
    Raises RecipeError where the smallest types are too large.
    """
    reader = GGUFReader(f16)
    choices = _offers(reader, importances(f16, capture, gradients))
    rest = f16.stat().st_size - sum(int(t.n_bytes) for t in reader.tensors if t.name in choices)
    rest += _NEW_METADATA + _ALIGNMENT * len(reader.tensors)
    try:
        return allocate(choices, max_bytes - rest)
    except TooSmallError as error:
        raise least_error("type auto", "types", max_bytes + error.missing, max_bytes) from None


def _file_type(chosen: Mapping[str, Choice]) -> str:
    """The file type that has most of the bytes: what the file calls itself."""
    sizes: Counter[str] = Counter()
    for choice in chosen.values():
        sizes[choice.type] += choice.bytes
    [(largest, _)] = sizes.most_common(1)
    return _FILE_TYPES.get(largest, largest)


def _offers(reader: GGUFReader, measured: Iterable[Importance]) -> dict[str, list[Choice]]:
    """By tensor each type whose block divides its width, with the loss that GPTQ leaves; of stacked
    experts their sum."""
    originals = {tensor.name: tensor for tensor in reader.tensors}
    by_tensor: dict[str, dict[str, float]] = {}
    bar = Progress("weighing types", len(originals), "tensors")
    checkpoints, cores = Checkpoints.of_this_run(), available_cores()
    weighed = deque[Mapping[Matrix, torch.Tensor]]()

    def work() -> Iterator[Callable[[], Mapping[str, torch.Tensor]]]:
        for importance in measured:
            weighed.append(importance.rows)
            first = next(iter(importance.rows))
            name = f"weigh {first.tensor} {first.expert or 0}"
            yield partial(checkpoints.result, name, partial(_losses, originals, importance))

    with single_core_workers(cores) as pool:
        for losses in in_order(pool, work(), cores):
            rows = weighed.popleft()
            for key in losses:
                for matrix, loss in zip(rows, losses[key].tolist(), strict=True):
                    of_types = by_tensor.setdefault(matrix.tensor, {})
                    of_types[key] = of_types.get(key, 0) + loss
            bar.advance(len(rows))
    return {
        name: [
            Choice(key, int(originals[name].n_elements) // block * size, loss)
            for key, loss in losses.items()
            for block, size in [GGML_QUANT_SIZES[BLOCK_TYPES[key].type]]
        ]
        for name, losses in by_tensor.items()
    }


def _losses(originals: Mapping[str, Any], importance: Importance) -> dict[str, torch.Tensor]:
    """By type the loss of each matrix [matrices], float64; of types whose block divides."""
    factored = factor(importance.hessian, NESTED, DAMPING, next(iter(importance.rows)).tensor)
    matrices = [
        (matrix.of(values_of(originals[matrix.tensor])), rows)
        for matrix, rows in importance.rows.items()
    ]
    grids = {key: kind.grid for key, kind in BLOCK_TYPES.items()}
    return estimated_losses(matrices, factored, grids)
