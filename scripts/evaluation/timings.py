"""Time all rows in one run, in turn, so that a busy machine slows all of them alike."""

import contextlib
import json
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from scripts.backends.table import BACKENDS, YARDSTICK, modules_of
from scripts.evaluation.result import Machine, Speed, Spread, Timings
from scripts.extras import version_of
from scripts.progress import Progress
from scripts.stage import Stage

ROUNDS = 5
_PAUSE_S = 0.05
_ARTIFACT = "artifact/"
# What a loaded artefact may take: its file twice over, and its runtime.
_TIMES_SIZE, _RUNTIME_BYTES = 2.5, 700e6
_SHARE_OF_MEMORY = 0.7


class NotTimed(Exception):
    """Why a row has no timings: its worker's last words, or that it had none."""


class Worker:
    """The process that holds one artefact."""

    def __init__(self, module: str, backend: str, artifact: Path, reference: Path) -> None:
        self.rounds: list[dict[str, float]] = []
        command = [sys.executable, "-m", module, backend, artifact, reference]
        self._process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ready(self) -> None:
        """Wait until its runtime is imported."""
        self._answer()

    def load(self) -> None:
        """Load the artefact and warm up."""
        self.loaded = self._ask("load")

    def turn(self) -> None:
        """One repeat of all timings."""
        self.rounds.append(self._ask("round"))

    def spread(self, figure: str) -> Spread:
        """Of one figure over the rounds."""
        return Spread.of([one[figure] for one in self.rounds])

    def end(self) -> float:
        """Close the process; the most bytes that it had resident."""
        peak: float = self._ask("end")["peak_rss_bytes"]
        self._process.wait()
        return peak

    def _ask(self, what: str) -> Any:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(what + "\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer = json.loads(line) if line.endswith("\n") else None
        if answer is None or "error" in answer:
            code = self._process.wait()
            silent = f"the process that timed it ended with exit code {code}; see the task's log"
            raise NotTimed(answer["error"] if answer else silent)
        return answer


class TimeAll(Stage):
    """Time all artefacts, and the float model in each runtime, in turn

    `rows` are the backends by the rows' names, `failed` says why others could not be made; inputs:
    `artifact/NAME` for each row and the reference. Each row is loaded in a process of its own, as
    many of them at one time as memory holds; then each has its turn in every round. A base that
    memory does not hold is left out. `out` is a JSON file, `Timings`.
    """

    rows: dict[str, str]
    failed: dict[str, str] = Field(default_factory=dict)
    rounds: int = ROUNDS
    reproducible = False
    canonical = False
    suffix = ".json"
    times: ClassVar[str] = "scripts.evaluation.speed"

    def reaches(self) -> tuple[str, ...]:
        """What times them, in processes of their own, and what loads them."""
        modules = {name for one in self.rows.values() for name in modules_of(one)}
        return (self.times, *sorted(modules))

    def uses(self) -> tuple[str, ...]:
        """Those of the rows' backends."""
        return self._runtimes()

    def _runtimes(self) -> tuple[str, ...]:
        """The distributions that the rows run with, in the order of the table."""
        used = (one for name, one in BACKENDS.items() if name in self.rows.values())
        return tuple(dict.fromkeys(package for one in used for package in one.packages))

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """A row that can't be timed is named in the record with its reason."""
        from scripts.workers import available_cores

        outcomes: dict[str, Speed | str] = dict(self.failed)
        memory = available_memory()
        left_out = self._too_large(inputs, memory)
        inputs = {name: path for name, path in inputs.items() if name not in left_out}
        bar = Progress("timing", (len(self.rows) - len(left_out)) * (2 + self.rounds))
        for names in batches(inputs, memory):
            outcomes |= self._together(names, inputs, bar)
        rows = sorted(outcomes.items())
        record = Timings(
            machine=describe(available_cores(), self._runtimes()),
            speeds={name: one for name, one in rows if isinstance(one, Speed)},
            failures={name: one for name, one in rows if isinstance(one, str)},
            left_out={name.removeprefix(_ARTIFACT): why for name, why in left_out.items()},
        )
        out.write_text(record.model_dump_json(indent=1) + "\n")

    def _too_large(self, inputs: Mapping[str, Path], memory: float) -> dict[str, str]:
        """The inputs that can't be timed in `memory` bytes, with the reason: other runtimes than
        the base's read their weights as they lie in the file."""
        bases = [_ARTIFACT + name for name, one in self.rows.items() if one == YARDSTICK]
        return {
            name: f"its speed was not measured: it takes about {need_of(inputs[name]) / 1e9:.0f} "
            f"GB of memory, and {memory / 1e9:.0f} GB are available"
            for name in bases
            if need_of(inputs[name]) > memory
        }

    def without(self, missing: Mapping[str, str]) -> Stage | None:
        """A row that could not be made is named with the reason."""
        failed = {name.removeprefix(_ARTIFACT): why for name, why in missing.items()}
        if not set(failed) <= set(self.rows):
            return None
        rows = {name: backend for name, backend in self.rows.items() if name not in failed}
        return self.model_copy(update={"rows": rows, "failed": failed})

    def is_settled(self, target: Path) -> bool:
        """Whether all rows were timed."""
        try:
            return not json.loads(target.read_bytes())["failures"]
        except (OSError, ValueError, KeyError):
            return False

    def _together(
        self, names: list[str], inputs: Mapping[str, Path], bar: Progress
    ) -> dict[str, Speed | str]:
        """The speeds of rows that are loaded at one time, or why there are none, by name."""
        outcomes: dict[str, Speed | str] = {}
        workers: dict[str, Worker] = {}

        def attempt(name: str, work: Any) -> None:
            try:
                work()
            except NotTimed as error:
                workers.pop(name, None)
                outcomes[name] = f"it could not be timed: {error}"
            bar.advance()

        for name in names:
            artifact = inputs[_ARTIFACT + name]
            workers[name] = Worker(*(self.times, self.rows[name], artifact, inputs["reference"]))
        # All have imported their runtimes before the first loads: no load time has that beside it.
        for name in names:
            attempt(name, workers[name].ready)
        for name in list(workers):
            attempt(name, workers[name].load)
        for number in range(self.rounds):
            for name in in_turn(list(workers), number):
                time.sleep(_PAUSE_S)
                attempt(name, workers[name].turn)
        for name, worker in workers.items():
            outcomes[name] = self.speed_of(worker)
        return outcomes

    def speed_of(self, worker: Worker) -> Speed | str:
        """The record of a worker's rounds, or why it has none; ends the worker."""
        return speed_of(worker)


def in_turn(names: list[str], number: int) -> Iterator[str]:
    """The order of a round: each begins with another row, so that none always comes first."""
    yield from (names[(place + number) % len(names)] for place in range(len(names)))


def speed_of(worker: Worker) -> Speed | str:
    """The record of a worker's rounds, or why it has none; ends the worker."""
    try:
        peak = worker.end()
    except NotTimed as error:
        return f"it could not be timed: {error}"
    return Speed(
        prefill_tokens=worker.loaded["prefill_tokens"],
        prefill_tokens_per_s=worker.spread("prefill"),
        decode_tokens=worker.loaded["decode_tokens"],
        decode_tokens_per_s=worker.spread("decode"),
        first_token_ms=worker.spread("first_token_ms"),
        load_s=worker.loaded["load_s"],
        peak_rss_bytes=int(peak),
        threads=worker.loaded["threads"],
    )


def available_memory() -> float:
    """Bytes that new processes may take without swapping (proc(5), MemAvailable)."""
    available = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    return 1024 * int(available[1]) if available else 4e9


def need_of(path: Path) -> float:
    """Bytes of memory that a loaded artefact may take."""
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return _RUNTIME_BYTES + _TIMES_SIZE * sum(file.stat().st_size for file in files)


def batches(inputs: Mapping[str, Path], memory: float) -> list[list[str]]:
    """The rows' names, in groups of which each fits into a share of `memory` bytes."""
    groups: list[list[str]] = []
    room = 0.0
    for name in sorted(name for name in inputs if name.startswith(_ARTIFACT)):
        need = need_of(inputs[name])
        if not groups or need > room:
            groups.append([])
            room = _SHARE_OF_MEMORY * memory
        groups[-1].append(name.removeprefix(_ARTIFACT))
        room -= need
    return groups


_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8", "asimddp")


def _cpu_info() -> tuple[str, set[str]]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine(), set()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return (names[0] if names else platform.machine()), set(text.split())


def describe(cores: int, packages: Iterable[str]) -> Machine:
    """The processor, those of its features that integer kernels use, cores, versions."""
    name, words = _cpu_info()
    return Machine(
        cpu=name,
        features=[feature for feature in _FEATURES if feature in words],
        cores=cores,
        packages={package: version_of(package) for package in packages},
    )
