"""The process of one artefact that is timed when its turn comes: what it reads and answers.

It imports the runtime, then answers each line of its input (`load`, `round`, `end`) with a line of
JSON. A process per artefact, so that peak RSS and load time are its own.
"""

import contextlib
import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TextIO

from scripts.errors import QuantmakeError
from scripts.lean import imports_are_done, start_lean
from scripts.workers import available_cores


class Arm(Protocol):
    """What is loaded, and how it is timed."""

    def warm_up(self) -> None:
        """Run everything once; choose how much a round does."""

    def counted(self) -> Mapping[str, int]:
        """What a round does, in numbers, once it is warm."""

    def turn(self) -> Mapping[str, float]:
        """One repeat of everything."""

    def peak_rss_bytes(self) -> int:
        """The most memory that it had."""


def serve(entry: str, load: Callable[[int], Arm]) -> None:
    """Import the module of `entry`, `module:name`; then load for so many threads, warm up, and
    answer until the input ends. An error is the last answer."""
    start_lean()
    # Whatever a backend prints goes to the log; only answers go to the parent.
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with contextlib.suppress(ImportError):  # `load` says what is missing
        importlib.import_module(entry.partition(":")[0])
    imports_are_done()
    _answer(channel, {})
    sys.stdin.readline()
    try:
        _turns(channel, load)
    except QuantmakeError as error:
        _answer(channel, {"error": str(error)})


def _turns(channel: TextIO, load: Callable[[int], Arm]) -> None:
    threads = available_cores()
    started = time.perf_counter()
    arm = load(threads)
    load_s = time.perf_counter() - started
    arm.warm_up()
    _answer(channel, {"load_s": load_s, "threads": threads, **arm.counted()})
    for line in sys.stdin:
        if line.strip() == "end":
            _answer(channel, {"peak_rss_bytes": arm.peak_rss_bytes()})
            return
        _answer(channel, arm.turn())


def _answer(channel: TextIO, answer: Mapping[str, Any]) -> None:
    print(json.dumps(answer), file=channel, flush=True)
