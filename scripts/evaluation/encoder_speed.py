"""One artefact of an encoder in a process of its own, timed when its turn comes.

`python -m scripts.evaluation.encoder_speed BACKEND ARTEFACT REFERENCE` speaks as
`scripts.evaluation.speed` does.
"""

import contextlib
import importlib
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import TextIO

from scripts.backends.encoder import Encoder, Sentence, batches, load_encoder
from scripts.backends.table import BACKENDS
from scripts.errors import QuantmakeError
from scripts.evaluation.encoder import BATCH
from scripts.lean import imports_are_done, start_lean
from scripts.sentences import read_sentences
from scripts.workers import available_cores

_SINGLE, _TOGETHER = 24, 96
# A slow row embeds fewer sentences in a round, so that all rows together stay bearable.
_MOST_SECONDS = 1.5


class Arm:
    """A loaded encoder and the sentences that it is timed on, of all kinds of text alike."""

    def __init__(self, encoder: Encoder, sentences: list[Sentence]) -> None:
        self._encoder = encoder
        self._sentences = [
            sentences[place * len(sentences) // _TOGETHER] for place in range(_TOGETHER)
        ]
        self._count = {1: _SINGLE, BATCH: _TOGETHER}

    def warm_up(self) -> None:
        """Run both once; choose how many sentences a round embeds."""
        for size in self._count:
            speed = self._rate(size, size)
            while self._count[size] > size and self._count[size] / speed > _MOST_SECONDS:
                self._count[size] = max(size, self._count[size] // 2)

    def turn(self) -> dict[str, float]:
        """Sentences a second, in batches and one by one."""
        return {
            "batch": self._rate(BATCH, self._count[BATCH]),
            "single": self._rate(1, self._count[1]),
        }

    def _rate(self, size: int, count: int) -> float:
        chosen = [self._sentences[place * _TOGETHER // count] for place in range(count)]
        started = time.perf_counter()
        for batch in batches(chosen, size):
            self._encoder.embed(batch)
        return count / (time.perf_counter() - started)


def main(backend: str, artifact: Path, reference: Path, answers: TextIO) -> None:
    """Load, warm up, answer until the input ends."""
    sentences = read_sentences(reference).all
    threads = available_cores()
    with contextlib.suppress(ImportError):  # load_encoder says what is missing
        importlib.import_module(BACKENDS[backend].encoder.partition(":")[0])
    imports_are_done()
    print("{}", file=answers, flush=True)
    sys.stdin.readline()
    started = time.perf_counter()
    arm = Arm(load_encoder(backend, artifact, threads=threads), sentences)
    load_s = time.perf_counter() - started
    arm.warm_up()
    print(json.dumps({"load_s": load_s, "threads": threads}), file=answers, flush=True)
    for line in sys.stdin:
        if line.strip() == "end":
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            print(json.dumps({"peak_rss_bytes": peak}), file=answers, flush=True)
            return
        print(json.dumps(arm.turn()), file=answers, flush=True)


if __name__ == "__main__":
    start_lean()
    # Whatever a backend prints goes to the log; only answers go to the parent.
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), channel)
    except QuantmakeError as error:
        print(json.dumps({"error": str(error)}), file=channel, flush=True)
