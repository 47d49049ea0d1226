"""From the base's shards to shards in which weights are quantised: a Hugging Face folder."""

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from safetensors import safe_open

from scripts.backends.unsupported import KEY, told
from scripts.checkpoint import Checkpoints
from scripts.disk_space import require_space
from scripts.errors import QuantmakeError
from scripts.progress import BYTES, Progress
from scripts.tensors.finite import is_finite
from scripts.tensors.header import read_header
from scripts.tensors.shards import write_index
from scripts.tensors.spill import Spill
from scripts.workers import available_cores, single_core_workers

_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")

Parts = Mapping[str, torch.Tensor]
"""What the file holds for a weight of the base, by name."""
Kernel = Callable[[str, torch.Tensor], Parts]
"""The parts for a name and its tensor as the base has it; raises NotFinite."""


class NotFinite(ValueError):
    """A tensor holds NaN or infinity."""


@dataclass(frozen=True)
class Work:
    """How `weights` of the base are quantised; results are kept in `checkpoints` where asked.

    `unsupported` says what becomes of each weight that the method does not support.
    """

    weights: frozenset[str]
    kernel: Kernel
    checkpoints: Checkpoints
    unsupported: Mapping[str, str] = field(default_factory=dict)


def quantise_folder(
    base: Path, out: Path, work: Work, settings: Mapping[str, object], share: float
) -> None:
    """Write the base with the weights of `work` quantised, shard by shard, and with `settings` as
    its `quantization_config`. A quantised weight takes about `share` of what it took.

    Raises QuantmakeError where a weight is missing, or a tensor is not finite; all are named.
    """
    shards = sorted(base.glob("*.safetensors"))
    refuse_missing(shards, work.weights)
    require_space(out, bytes_needed(shards, work.weights, share))
    bar = Progress("quantising", sum(sum(bytes_in(one).values()) for one in shards), BYTES)
    places: dict[str, str] = {}
    bad: list[str] = []
    size = 0
    with single_core_workers(available_cores()) as pool:
        for shard in shards:
            sizes, broken = quantise_shard(shard, out / shard.name, work, pool, bar)
            bad += broken
            places.update(dict.fromkeys(sizes, shard.name))
            size += sum(sizes.values())
    refuse_broken(bad)
    if len(shards) > 1:
        write_index(out, places, size)
    for path in sorted(base.iterdir()):
        if path.is_file() and not any(path.match(pattern) for pattern in _WEIGHTS):
            shutil.copyfile(path, out / path.name)
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    unsupported = {KEY: told(work.unsupported)} if work.unsupported else {}
    config = {**config, "quantization_config": settings, **unsupported}
    text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False)
    (out / "config.json").write_text(text + "\n", encoding="utf-8")


def bytes_in(shard: Path) -> dict[str, int]:
    """The tensors of one safetensors file, sorted, with their sizes."""
    return {name: tensor.size for name, tensor in sorted(read_header(shard).items())}


def refuse_missing(shards: list[Path], weights: Iterable[str]) -> None:
    """Raise QuantmakeError that names every linear without a tensor."""
    missing = set(weights).difference(*map(bytes_in, shards))
    if missing:
        raise QuantmakeError(
            f"the base has no tensors {', '.join(sorted(missing))}, which its config.json calls "
            "for; build it again (doit base)"
        )


def refuse_broken(bad: list[str]) -> None:
    """Raise QuantmakeError that names the tensors `bad`, which are not finite; none is fine."""
    if bad:
        raise QuantmakeError(
            f"the base has NaN or infinity in {', '.join(sorted(bad))}; a quantised model of it "
            "would answer nonsense. Mend the source model."
        )


def bytes_needed(shards: list[Path], weights: Iterable[str], share: float) -> int:
    """About what the output takes on the disk, with what waits while a shard is written."""
    chosen, sizes = set(weights), []
    for shard in shards:
        parts = bytes_in(shard).items()
        sizes.append(sum(n * (share if name in chosen else 1) for name, n in parts))
    return int(sum(sizes) + max(sizes, default=0))


def quantise_shard(
    shard: Path, out: Path, work: Work, pool: ThreadPoolExecutor, bar: Progress
) -> tuple[dict[str, int], list[str]]:
    """Write one shard with its weights quantised, a tensor for each worker in memory.

    Returns each tensor's size in bytes, and the tensors of the base that are not finite.
    """
    with Spill(out.parent) as spill:

        def make(name: str) -> str | None:
            with safe_open(shard, "pt") as weights:
                tensor = weights.get_tensor(name)
            try:
                if name in work.weights:
                    parts = work.checkpoints.result(name, partial(work.kernel, name, tensor))
                else:
                    parts = _as_it_is(name, tensor)
                spill.add(parts)
            except NotFinite:
                return name
            return None

        bad = []
        sizes = bytes_in(shard)
        for size, broken in zip(sizes.values(), pool.map(make, sizes), strict=True):
            bad += [broken] if broken else []
            bar.advance(size)
        if not bad:
            spill.save(out, {"format": "pt"})
        return spill.sizes(), bad


def _as_it_is(name: str, tensor: torch.Tensor) -> Parts:
    """A tensor that stays in FP16. Raises NotFinite."""
    if not is_finite(tensor):
        raise NotFinite
    return {name: tensor}
