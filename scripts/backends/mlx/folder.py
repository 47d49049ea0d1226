"""The folder that mlx-lm writes and loads: safetensors by its names, their index, config.json."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.backends.mlx.plan import Plan
from scripts.backends.unsupported import KEY, told
from scripts.base.config_json import read_json, write_json
from scripts.disk_space import require_space
from scripts.errors import QuantmakeError
from scripts.hashed_file import HashedFile
from scripts.progress import BYTES, Progress
from scripts.tensors.header import Layout, header_bytes
from scripts.tensors.shards import cut, write_index
from scripts.workers import available_cores, single_core_workers

_LARGEST = 5 << 30  # bytes of a file, as mlx-lm cuts it
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
_AHEAD = 2  # results that wait for each worker, at most

Arrays = Mapping[str, NDArray[Any]]


class NotFinite(ValueError):
    """A tensor of the base holds NaN or infinity; the text is its name."""


@dataclass(frozen=True)
class Piece:
    """Tensors that are made together: their layouts by name, and what makes them. Raises
    NotFinite."""

    layouts: Mapping[str, Layout]
    make: Callable[[], Arrays]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(one.size for one in self.layouts.values())


def layout(kind: np.dtype[Any], shape: tuple[int, ...]) -> Layout:
    """Of an array of U32 or F16."""
    names = {np.dtype("<u4"): "U32", np.dtype("<f2"): "F16"}
    return Layout(names[kind], shape, int(np.prod(shape)) * kind.itemsize)


def write_folder(
    base: Path,
    out: Path,
    pieces: Mapping[str, Piece],
    settings: Mapping[str, object],
    unsupported: Mapping[str, str],
) -> None:
    """Write the pieces, by name, beside the base's tokenizer, and `settings` as `quantization`.

    Raises QuantmakeError that names every tensor of the base that is not finite.
    """
    sizes = {name: piece.size for name, piece in pieces.items()}
    require_space(out, sum(sizes.values()))
    files = cut(sizes, _LARGEST)
    bar = Progress("quantising", sum(sizes.values()), BYTES)
    bad: list[str] = []
    with single_core_workers(available_cores()) as pool:
        for file, names in files.items():
            bad += _write_file(out / file, [pieces[name] for name in names], pool, bar)
    if bad:
        raise QuantmakeError(
            f"the base has NaN or infinity in {', '.join(sorted(bad))}; a quantised model of it "
            "would answer nonsense. Mend the source model."
        )
    places = {
        tensor: file
        for file, names in files.items()
        for one in names
        for tensor in pieces[one].layouts
    }
    write_index(out, places, sum(sizes.values()))
    for path in sorted(base.iterdir()):
        if path.is_file() and not any(path.match(pattern) for pattern in _WEIGHTS):
            shutil.copyfile(path, out / path.name)
    config = {**read_json(base / "config.json"), "quantization": settings}
    config |= {"quantization_config": settings}  # which the hub reads
    config |= {KEY: told(unsupported)} if unsupported else {}
    write_json(out / "config.json", config)


def quantization(plan: Plan, bits: int) -> dict[str, object]:
    """mlx-lm's settings: those of most modules, and of each that has others."""
    usual: dict[str, object] = {"group_size": plan.group, "bits": bits, "mode": "affine"}
    own = {one.name: {**usual, "bits": one.bits} for one in plan.modules if one.bits != bits}
    return {**usual, **own}


def _write_file(
    path: Path, pieces: Sequence[Piece], pool: ThreadPoolExecutor, bar: Progress
) -> list[str]:
    """Write one file as its pieces are made; returns the tensors that are not finite."""
    layouts = {name: one for piece in pieces for name, one in piece.layouts.items()}
    bad = []
    with HashedFile(path) as out:
        out.write(header_bytes(layouts, {"format": "mlx"}))
        for piece, future in _made(pieces, pool):
            try:
                made = future.result()
            except NotFinite as error:
                bad.append(str(error))
                continue
            for name, one in piece.layouts.items():
                array = np.ascontiguousarray(made[name])
                assert array.shape == one.shape, (name, array.shape, one.shape)
                out.write(array.reshape(-1).view(np.uint8).data)
            bar.advance(piece.size)
    return bad


def _made(
    pieces: Sequence[Piece], pool: ThreadPoolExecutor
) -> Iterator[tuple[Piece, Future[Arrays]]]:
    """In their order, with few of them waiting."""
    waiting: list[tuple[Piece, Future[Arrays]]] = []
    for piece in pieces:
        waiting.append((piece, pool.submit(piece.make)))
        if len(waiting) > _AHEAD * available_cores():
            yield waiting.pop(0)
    yield from waiting


def parse_quantization(folder: Path) -> Any:
    """`quantization` of a written config.json; raises QuantmakeError where it has none."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if not isinstance(config.get("quantization"), dict):
        raise QuantmakeError(f"{folder.name}/config.json has no `quantization`")
    return config["quantization"]
