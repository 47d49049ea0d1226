"""One artefact in a process of its own, timed when its turn comes.

`python -m scripts.evaluation.speed BACKEND ARTEFACT REFERENCE` answers as `timed_process.py` says.
"""

import resource
import sys
import time
from pathlib import Path
from typing import Any

from scripts.backends.model import Model, load_model
from scripts.backends.table import BACKENDS
from scripts.evaluation.timed_process import serve
from scripts.token_windows import read_windows

PREFILL = 512
PROMPT = 32
DECODE = 128
_WARM_UP = 8
# A slow row decodes fewer tokens in a round, so that all rows together stay bearable.
_MOST_SECONDS = 1.25


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

    def counted(self) -> dict[str, int]:
        """Tokens that a round reads at once, and that it decodes."""
        return {"prefill_tokens": len(self._long), "decode_tokens": self.decode_tokens}

    def turn(self) -> dict[str, float]:
        """Speeds in tokens per second, and the time to the first token of a short prompt."""
        started = time.perf_counter()
        self._model.prefill(self._long)
        prefill = len(self._long) / (time.perf_counter() - started)
        decode, first = self._decode(self.decode_tokens)
        return {"prefill": prefill, "decode": decode, "first_token_ms": first}

    def _decode(self, count: int) -> tuple[float, float]:
        """Tokens per second of `count` greedy tokens, and milliseconds to the first of them."""
        started = time.perf_counter()
        logits = self._model.prefill(self._short)
        first = 1000 * (time.perf_counter() - started)
        started = time.perf_counter()
        for _ in range(count):
            logits = self._model.decode(int(logits.argmax()))
        return count / (time.perf_counter() - started), first


def main(backend: str, artifact: Path, reference: Path) -> None:
    """Load, warm up, serve."""
    tokens = read_windows(reference).reshape(-1)[:PREFILL]

    def loaded(threads: int) -> Arm:
        context = max(PREFILL, PROMPT + DECODE)
        return Arm(load_model(backend, artifact, threads=threads, context=context), tokens)

    serve(BACKENDS[backend].loader, loaded)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
