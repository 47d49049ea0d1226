"""Logits of any runtime on quantmake's yardstick."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.benchmarks.peers.child import run
from scripts.engine.store.files import remove
from scripts.errors import QuantmakeError
from scripts.evaluation.metrics import Comparison
from scripts.evaluation.result import TextQuality
from scripts.evaluation.windowed import read_window
from scripts.token_windows import read_kinds, read_windows

INSIDE = ("-m", "scripts.benchmarks.peers.inside")


@dataclass(frozen=True)
class Yardstick:
    """The reference of a recipe, and how many windows of each kind are scored; 0 for all."""

    reference: Path
    each: int = 0

    def places(self) -> dict[str, list[int]]:
        """By kind of text the scored windows, by their places in the reference."""
        count = len(read_windows(self.reference))
        kinds = {
            kind: list(range(*part.indices(count)))
            for kind, part in read_kinds(self.reference).items()
        }
        return {kind: part[: self.each or None] for kind, part in kinds.items()}


def score(
    name: str, artifact: Path, python: str, runtime: str, yardstick: Yardstick, scratch: Path
) -> tuple[TextQuality, ...]:
    """Have `runtime` compute an artefact's logits in the process of `python`, and compare them.

    Raises QuantmakeError where the process fails, or its logits are not those that were asked for.
    """
    places = yardstick.places()
    chosen = [place for part in places.values() for place in part]
    windows = read_windows(yardstick.reference)[chosen]
    first, out = windows.shape[1] // 2, scratch / "logits.npy"
    scratch.mkdir(parents=True, exist_ok=True)
    np.save(scratch / "windows.npy", windows)
    job = {"runtime": runtime, "artifact": str(artifact), "first": first, "out": str(out)}
    order = scratch / "logits.json"
    order.write_text(json.dumps({**job, "windows": str(scratch / "windows.npy")}))
    try:
        run(f"scoring {name}", [python, *INSIDE, str(order)], scratch / "logits.log")
        logits = np.load(out, mmap_mode="r")
        return _compare(name, logits, windows, places, yardstick.reference)
    finally:
        remove(out)


def _compare(
    name: str,
    logits: NDArray[np.float32],
    windows: NDArray[np.int64],
    places: dict[str, list[int]],
    reference: Path,
) -> tuple[TextQuality, ...]:
    chosen = [place for part in places.values() for place in part]
    first, wanted = windows.shape[1] // 2, read_window(reference / "logprobs.npy", chosen[0]).shape
    _check(name, logits.shape, (len(chosen), *wanted))
    comparison, texts, done = Comparison(), [], 0
    for number, place in enumerate(chosen):
        base = torch.from_numpy(read_window(reference / "logprobs.npy", place))
        mine = torch.from_numpy(np.array(logits[number]))
        if not torch.isfinite(mine).all():
            raise QuantmakeError(f"{name} gives logits that are NaN or infinite (window {number})")
        comparison.add(base, mine, torch.from_numpy(windows[number, first + 1 :]))
    for kind, part in places.items():
        quality = comparison.quality(slice(done, done + len(part)))
        texts.append(TextQuality(kind=kind, quality=quality))
        done += len(part)
    return tuple(texts)


def _check(name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if shape[-1] != wanted[-1]:
        raise QuantmakeError(
            f"{name} has a vocabulary of {shape[-1]}, the base {wanted[-1]}; they are not the same "
            "model"
        )
    if shape != wanted:
        raise QuantmakeError(
            f"{name} gives logits of the shape {list(shape)}; wanted are {list(wanted)}: windows, "
            "scored positions, vocabulary"
        )
