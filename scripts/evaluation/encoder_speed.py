"""One artefact of an encoder in a process of its own, timed when its turn comes.

`python -m scripts.evaluation.encoder_speed BACKEND ARTEFACT REFERENCE` answers as
`timed_process.py` says.
"""

import resource
import sys
import time
from pathlib import Path

from scripts.backends.encoder import Encoder, Sentence, batches, load_encoder
from scripts.backends.table import BACKENDS
from scripts.evaluation.encoder import BATCH
from scripts.evaluation.timed_process import serve
from scripts.sentences import read_sentences

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

    def counted(self) -> dict[str, int]:
        """Nothing that is shown."""
        return {}

    def peak_rss_bytes(self) -> int:
        """The most memory that this process had."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

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


def main(backend: str, artifact: Path, reference: Path) -> None:
    """Load, warm up, serve."""
    sentences = read_sentences(reference).all

    def loaded(threads: int) -> Arm:
        return Arm(load_encoder(backend, artifact, threads=threads), sentences)

    serve(BACKENDS[backend].encoder, loaded)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
