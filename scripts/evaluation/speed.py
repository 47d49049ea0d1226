"""One artefact in a process of its own, timed when its turn comes.

`python -m scripts.evaluation.speed BACKEND ARTEFACT REFERENCE` imports the runtime, then answers
each line of its input (`load`, `round`, `end`) with a line of JSON. A process per artefact, so that
peak RSS and load time are its own.
"""

import contextlib
import importlib
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from scripts.backends.model import Model, load_model
from scripts.backends.table import BACKENDS
from scripts.errors import QuantmakeError
from scripts.lean import imports_are_done, start_lean
from scripts.strict import Strict
from scripts.token_windows import read_windows
from scripts.workers import available_cores

PREFILL = 512
PROMPT = 32
DECODE = 128
_WARM_UP = 8
# A slow row decodes fewer tokens in a round, so that all rows together stay bearable.
_MOST_SECONDS = 1.25


class Loaded(Strict):
    """What a worker says once it is ready."""

    load_s: float
    threads: int
    prefill_tokens: int
    decode_tokens: int


class Round(Strict):
    """One turn: speeds in tokens per second, the time to the first token of a short prompt."""

    prefill: float
    decode: float
    first_token_ms: float


class Arm:
    """A loaded model and what it is timed on; `tokens` [n] is what it reads."""

    def __init__(self, model: Model, tokens: Any) -> None:
        self._model = model
        self._long, self._short = tokens[:PREFILL], tokens[:PROMPT]
        self.decode_tokens = DECODE

    def warm_up(self) -> None:
        """Run both once; choose how many tokens a round decodes."""
        self._model.prefill(self._long)
        speed = self._decode(_WARM_UP)[0]
        while self.decode_tokens > _WARM_UP and self.decode_tokens / speed > _MOST_SECONDS:
            self.decode_tokens //= 2

    def peak_rss_bytes(self) -> int:
        """The most memory that this process had, and one that the model runs in, if any."""
        beside = getattr(self._model, "peak_rss_bytes", int)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + int(beside())

    def turn(self) -> Round:
        """One repeat of everything."""
        started = time.perf_counter()
        self._model.prefill(self._long)
        prefill = len(self._long) / (time.perf_counter() - started)
        decode, first = self._decode(self.decode_tokens)
        return Round(prefill=prefill, decode=decode, first_token_ms=first)

    def _decode(self, count: int) -> tuple[float, float]:
        """Tokens per second of `count` greedy tokens, and milliseconds to the first of them."""
        started = time.perf_counter()
        logits = self._model.prefill(self._short)
        first = 1000 * (time.perf_counter() - started)
        started = time.perf_counter()
        for _ in range(count):
            logits = self._model.decode(int(logits.argmax()))
        return count / (time.perf_counter() - started), first


def serve(arm: Arm, loaded: Loaded, answers: TextIO) -> None:
    """Answer until the input ends."""
    print(loaded.model_dump_json(), file=answers, flush=True)
    for line in sys.stdin:
        if line.strip() == "end":
            print(json.dumps({"peak_rss_bytes": arm.peak_rss_bytes()}), file=answers, flush=True)
            return
        print(arm.turn().model_dump_json(), file=answers, flush=True)


def main(backend: Any, artifact: Path, reference: Path, answers: TextIO) -> None:
    """Load, warm up, serve."""
    tokens = read_windows(reference).reshape(-1)[:PREFILL]
    threads = available_cores()
    with contextlib.suppress(ImportError):  # load_model says what is missing
        importlib.import_module(BACKENDS[backend].loader.partition(":")[0])
    imports_are_done()
    print("{}", file=answers, flush=True)
    sys.stdin.readline()
    started = time.perf_counter()
    model = load_model(backend, artifact, threads=threads, context=max(PREFILL, PROMPT + DECODE))
    load_s = time.perf_counter() - started
    arm = Arm(model, tokens)
    arm.warm_up()
    loaded = Loaded(
        load_s=load_s,
        threads=threads,
        prefill_tokens=len(tokens[:PREFILL]),
        decode_tokens=arm.decode_tokens,
    )
    serve(arm, loaded, answers)


if __name__ == "__main__":
    start_lean()
    # Whatever a backend prints goes to the log; only answers go to the parent.
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), channel)
    except QuantmakeError as error:
        print(json.dumps({"error": str(error)}), file=channel, flush=True)
