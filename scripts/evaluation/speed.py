"""Timings and samples of one artefact, in a process of its own.

`python -m scripts.evaluation.speed RUNTIME ARTEFACT REFERENCE` prints JSON on its last line.
A process per artefact, so that peak RSS and load time are its own.
"""

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from scripts.errors import QuantmakeError
from scripts.evaluation.result import Speed, Spread
from scripts.runtimes.model import Model, available_cores, load_model

_PREFILL = 512
_PROMPT = 32
_DECODE = 32
_LEAST_REPEATS, _MOST_REPEATS = 3, 7
_ENOUGH_SECONDS = 2.5


def repeat(work: Callable[[], float]) -> list[float]:
    """What `work` returns, a warm-up left out, until enough repeats or enough time are spent."""
    work()
    found: list[float] = []
    started = time.perf_counter()
    while len(found) < _LEAST_REPEATS or (
        len(found) < _MOST_REPEATS and time.perf_counter() - started < _ENOUGH_SECONDS
    ):
        found.append(work())
    return found


def spread(values: list[float]) -> Spread:
    """Median, least, greatest and count."""
    return Spread(
        median=statistics.median(values),
        least=min(values),
        greatest=max(values),
        repeats=len(values),
    )


def generate(model: Model, prompt: list[int], stop: list[int], most: int) -> list[int]:
    """Greedy token ids after `prompt`, up to a stop token or `most` of them."""
    ids: list[int] = []
    logits = model.prefill(np.array(prompt, np.int64))
    while len(ids) < most:
        token = int(logits.argmax())
        if token in stop:
            break
        ids.append(token)
        logits = model.decode(token)
    return ids


def measure(model: Model, tokens: Any, load_s: float, threads: int) -> Speed:
    """All timings of a loaded model; `tokens` [n] is what it reads."""
    long, short = tokens[:_PREFILL], tokens[:_PROMPT]
    first_token: list[float] = []

    def prefill() -> float:
        started = time.perf_counter()
        model.prefill(long)
        return len(long) / (time.perf_counter() - started)

    def decode() -> float:
        started = time.perf_counter()
        logits = model.prefill(short)
        first_token.append(1000 * (time.perf_counter() - started))
        started = time.perf_counter()
        for _ in range(_DECODE):
            logits = model.decode(int(logits.argmax()))
        return _DECODE / (time.perf_counter() - started)

    prefills, decodes = repeat(prefill), repeat(decode)
    return Speed(
        prefill_tokens=len(long),
        prefill_tokens_per_s=spread(prefills),
        decode_tokens=_DECODE,
        decode_tokens_per_s=spread(decodes),
        first_token_ms=spread(first_token[1:]),
        load_s=load_s,
        peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        threads=threads,
    )


def main(runtime: Any, artifact: Path, reference: Path) -> None:
    """Load, time, generate, print."""
    tokens = np.load(reference / "tokens.npy")[0].astype(np.int64)
    prompts = json.loads((reference / "prompts.json").read_text())
    longest = max(len(entry["tokens"]) for entry in prompts["prompts"])
    context = max(_PREFILL, longest + prompts["new_tokens"], _PROMPT + _DECODE) + 1
    threads = available_cores()
    started = time.perf_counter()
    model = load_model(runtime, artifact, threads=threads, context=context)
    speed = measure(model, tokens, time.perf_counter() - started, threads)
    completions = [
        generate(model, entry["tokens"], prompts["stop"], prompts["new_tokens"])
        for entry in prompts["prompts"]
    ]
    print(json.dumps({"speed": speed.model_dump(), "completions": completions}))


if __name__ == "__main__":
    try:
        main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
    except QuantmakeError as error:
        print(json.dumps({"error": str(error)}))
