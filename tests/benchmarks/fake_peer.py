"""A peer that copies the base, dies, or gives what it should not; it runs in child processes."""

import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scripts.benchmarks.peer import Inputs, Peer, Scheme


def quantise(inputs: Inputs, out: Path, options: Mapping[str, Any]) -> None:
    """As the scheme says."""
    if options["does"] == "dies":
        print("reading", flush=True)
        sys.exit("no room for blocks of 7")
    if options["does"] != "nothing":
        shutil.copytree(inputs["base"], out, dirs_exist_ok=True)
        (out / "does").write_text(options["does"])


def logits(artifact: Path, windows: Any, first: int) -> Iterator[Any]:
    """Numbers that say nothing, of a shape that `does` names."""
    does, count = (artifact / "does").read_text(), windows.shape[1] - first
    generator = np.random.default_rng(0)
    for _ in windows[: -1 if does == "windows" else None]:
        values = generator.normal(size=(count, 300 if does == "vocabulary" else 512))
        yield np.full_like(values, np.nan) if does == "nan" else values.astype(np.float32)


def _scheme(does: str) -> Scheme:
    return Scheme(does, f"fake {does}", "{format: bitsandbytes}", {"does": does})


PEER = Peer(
    name="fake",
    packages=(),
    quantise=quantise,
    runtime="tests.benchmarks.fake_peer:logits",
    schemes=tuple(map(_scheme, ("random", "dies", "nothing", "vocabulary", "windows", "nan"))),
)
