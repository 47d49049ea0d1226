"""One step in the environment of a peer: `python -m scripts.benchmarks.peers.inside JOB.json`.

A job quantises, `{"module", "scheme", "inputs": {name: path}, "out"}`, or computes logits,
`{"runtime", "artifact", "windows", "first", "out"}`: `out` is then a .npy file, float32
[n, context - first - 1, vocabulary], whose positions predict the token that follows them.
"""

import importlib
import json
import pkgutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Runtime = Callable[[Path, NDArray[np.int64], int], Iterator[NDArray[np.float32]]]


def quantise(module: str, scheme: str, inputs: dict[str, str], out: str) -> None:
    """Run one scheme of the peer in `module`."""
    peer = importlib.import_module(module).PEER
    options = next(one.options for one in peer.schemes if one.name == scheme)
    paths = {name: Path(path) for name, path in inputs.items()}
    if not peer.suffix:
        Path(out).mkdir(parents=True, exist_ok=True)
    peer.quantise(paths, Path(out), options)


def write_logits(runtime: str, artifact: str, windows: str, first: int, out: str) -> None:
    """Score each window; the file is written window by window and never held in memory."""
    run: Runtime = (
        pkgutil.resolve_name(runtime) if ":" in runtime else partial(_by_backend, runtime)
    )
    tokens = np.load(windows).astype(np.int64)
    file: Any = None
    done = 0
    for logits in run(Path(artifact), tokens, first):
        if file is None:
            shape = (len(tokens), tokens.shape[1] - first - 1, logits.shape[-1])
            file = np.lib.format.open_memmap(out, "w+", np.float32, shape)
        file[done] = logits[:-1]
        done += 1
    if done != len(tokens):
        sys.exit(f"it gave the logits of {done} windows; {len(tokens)} were asked for")


def _by_backend(
    backend: str, artifact: Path, windows: NDArray[np.int64], first: int
) -> Iterator[NDArray[np.float32]]:
    """By a backend of quantmake."""
    from scripts.backends.model import load_model
    from scripts.workers import available_cores

    context = windows.shape[1]
    model = load_model(backend, artifact, threads=available_cores(), context=context)
    for tokens in windows:
        yield model.scores(tokens, first)


if __name__ == "__main__":
    job = json.loads(Path(sys.argv[1]).read_text())
    (quantise if "module" in job else write_logits)(**job)
