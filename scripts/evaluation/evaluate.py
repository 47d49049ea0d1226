"""Evaluate one artefact: size, quality against the FP16 base, samples, in one record."""

import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from scripts.backends.table import BACKENDS, YARDSTICK, modules_of
from scripts.footprints import FOOTPRINTS, Footprint
from scripts.forecast import Forecast, Inputs, Outline
from scripts.stage import Stage

MOST_VALUES_AT_ONCE = 1_000_000_000
"""Of the base: a larger one is read from the disk layer by layer, for each token that it writes."""
_LINES_SHOWN = 3


class Evaluate(Stage):
    """Measure one artefact against the FP16 base

    Inputs: the artefact, the base and the reference. `out` is a JSON file, a `Measured`: an
    artefact that can't be measured gets a `Failed` that says why, and is measured again by the next
    build; so does one that `failed` to be made, for that reason. The base's own quality comes from
    the stored reference: it is not scored a second time.
    """

    artifact: str
    backend: str
    failed: str = ""
    suffix = ".json"
    canonical = False
    scores: ClassVar[str] = "scripts.evaluation.score"

    def describe(self) -> str:
        """For lists of tasks."""
        return f"Measure {self.artifact} against the FP16 base"

    def uses(self) -> tuple[str, ...]:
        """Those of the backend."""
        return BACKENDS[self.backend].packages

    def reaches(self) -> tuple[str, ...]:
        """What scores it, in a process of its own, and what its backend reads it with."""
        return (self.scores, *modules_of(self.backend))

    def takes(self) -> Footprint:
        """What is loaded takes more than its file: most runtimes have a layout of their own."""
        return FOOTPRINTS["evaluate"] + Footprint(artifact=BACKENDS[self.backend].load_factor)

    def forecast(self, inputs: Inputs, target: Path) -> Forecast | None:
        """A large base is in memory layer by layer."""
        said = super().forecast(inputs, target)
        about = said and said.about
        if self.backend != YARDSTICK or not isinstance(about, Outline):
            return said
        if about.values <= MOST_VALUES_AT_ONCE:
            return said
        return FOOTPRINTS["evaluate base by layer"].for_model(inputs)

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """The work is done in a process of its own, since a broken artefact may end it."""
        if self.failed:
            self._write_failed(self.failed, out)
            return
        paths = (*(inputs[name] for name in ("artifact", "base", "reference")), out)
        command = [sys.executable, "-m", self.scores, self.artifact, self.backend]
        done = subprocess.run(
            [*command, *map(str, paths)],
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode == 0:
            return
        reason = done.stdout.partition("error: ")[2].strip() or self._last_words(done)
        print(f"{self.artifact} could not be measured: {reason}")
        self._write_failed(reason, out)

    def _write_failed(self, reason: str, out: Path) -> None:
        from scripts.evaluation.result import Failed

        failed = Failed(artifact=self.artifact, reason=reason)
        out.write_text(failed.model_dump_json(indent=1) + "\n")

    def without(self, missing: Mapping[str, str]) -> Stage | None:
        """An artefact that could not be made gets a record of that."""
        if set(missing) != {"artifact"}:
            return None
        return self.model_copy(update={"failed": missing["artifact"]})

    def is_settled(self, target: Path) -> bool:
        """Whether it was measured: a failure is never taken as the last word."""
        from scripts.evaluation.result import MEASUREMENT, Failed

        try:
            return not isinstance(MEASUREMENT.validate_json(target.read_bytes()), Failed)
        except (OSError, ValueError):
            return False

    def _last_words(self, done: subprocess.CompletedProcess[str]) -> str:
        if done.returncode == -signal.SIGKILL:
            return (
                "its process was killed (SIGKILL), most likely because memory ran out; close "
                "other programs or measure it on a larger machine"
            )
        end = (
            f"was ended by {signal.Signals(-done.returncode).name}"
            if done.returncode < 0
            else f"ended with exit code {done.returncode}"
        )
        lines = [line for line in done.stdout.splitlines() if line.strip()][-_LINES_SHOWN:]
        words = f"; its last words: {' / '.join(lines)}" if lines else ""
        return f"{self.backend} {end} while it read or ran the artefact{words}"
