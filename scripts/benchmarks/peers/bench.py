"""Makes and scores the rows; what is measured already, of the same things, is not run again."""

import hashlib
import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from scripts.backends.format import Format, all_formats
from scripts.backends.table import YARDSTICK
from scripts.benchmarks.big_models import size_of
from scripts.benchmarks.peer import Peer, Scheme
from scripts.benchmarks.peers.child import Cost, run
from scripts.benchmarks.peers.environment import python_of
from scripts.benchmarks.peers.records import OUTCOME, Failed, Made, Measured
from scripts.benchmarks.peers.scoring import INSIDE, Yardstick, score
from scripts.engine.build.action import Action
from scripts.engine.build.record import read_record
from scripts.engine.store.files import remove, write_atomically
from scripts.engine.store.manifest import manifest_path, read_small
from scripts.errors import QuantmakeError

OURS = "quantmake"
_COMMON = ("base", "calibration")


def format_of(line: str) -> Format:
    """The format that a recipe's line asks for."""
    entry = yaml.safe_load(line)
    kinds = (
        kind for kind in all_formats() for one in kind.selections() if one.items() <= entry.items()
    )
    return next(kinds).model_validate(entry)


@dataclass(frozen=True)
class Bench:
    """What all rows share: the nodes of a recipe's graph by name, a folder, the yardstick.

    With `again`, what is measured already is measured anew. `say` is told what is being done.
    """

    nodes: Mapping[str, Path]
    folder: Path
    environments: Path
    yardstick: Yardstick
    again: bool = False
    say: Callable[[str], None] = print

    def row_of(self, peer: Peer, scheme: Scheme) -> "Row":
        """One scheme of a peer."""
        inputs = {name: self.nodes[name] for name in (*_COMMON, *peer.needs)}
        about = {"packages": peer.packages, "options": dict(scheme.options), "scheme": scheme.name}
        name = f"{peer.name}, {scheme.name}"
        artifact = self._place(peer.name, scheme.name) / f"artifact{peer.suffix}"

        def make() -> Cost:
            job = {"module": peer.module, "scheme": scheme.name, "out": str(artifact)}
            paths = {key: str(path) for key, path in inputs.items()}
            order = self._order(artifact, {**job, "inputs": paths})
            python = python_of(peer, self._home(peer))
            return run(name, [python, *INSIDE, str(order)], order.with_suffix(".log"))

        return Row(name, artifact, digest({**about, **digests(inputs)}), make, peer)

    def row_of_ours(self, line: str) -> "Row":
        """The artefact of quantmake that a recipe's line asks for."""
        stage = format_of(line)
        inputs = {name: self.nodes[name] for name in stage.needed()}
        artifact = self._place(OURS, line) / f"artifact{stage.suffix}"
        action = Action(stage, inputs, artifact)

        def make() -> Cost:
            order = self._order(artifact, json.loads(action.to_json(artifact)))
            command = [sys.executable, "-m", "scripts.exec", str(order)]
            return run(f"{OURS}, {line}", command, order.with_suffix(".log"))

        shared = [read_record(path) for name, path in inputs.items() if name != "base"]
        before = sum(one.seconds for one in shared if one)
        return Row(f"{OURS}, {line}", artifact, action.key(), make, None, before, stage.backend)

    def row_of_base(self, peer: Peer | None) -> "Row":
        """The base itself by the runtime of a peer, or by our own: its KLD says how exact it is."""
        name = f"FP16 base, {peer.name if peer else OURS}"
        place = self._place(peer.name if peer else OURS, "base")
        key = digest(
            {"packages": peer.packages if peer else (), **digests({"base": self.nodes["base"]})}
        )
        nothing = Cost(seconds=0, cpu_seconds=0, memory=0)
        return Row(
            name, self.nodes["base"], key, lambda: nothing, peer, backend=YARDSTICK, at=place
        )

    def kept(self, row: "Row") -> Measured | Failed | None:
        """What was measured of the same things, if anything."""
        outcome = read(row.place)
        return outcome if outcome and outcome.key == self._key(row) else None

    def measure(self, row: "Row") -> Measured | Failed:
        """Make and score a row, as far as that is not done; a failure is kept as its reason."""
        kept = self.kept(row)
        if isinstance(kept, Measured) and not self.again:
            return kept
        outcome: Measured | Failed
        try:
            made = self._made(row)
            self.say(f"{row.name}: scoring")
            python = self._runtimes_python(row)
            texts = score(row.name, row.artifact, python, row.runtime, self.yardstick, row.place)
            size = size_of(row.artifact)
            outcome = Measured(key=self._key(row), made=made, bytes=size, texts=texts)
        except QuantmakeError as error:
            # The page is for other machines too.
            reason = str(error).replace(f"{Path.cwd()}/", "")
            outcome = Failed(key=self._key(row), reason=reason)
        write_atomically(row.place / "result.json", outcome.model_dump_json(indent=1) + "\n")
        return outcome

    def _key(self, row: "Row") -> str:
        scored = digests({"reference": self.yardstick.reference})
        how = {"runtime": row.runtime, "windows": self.yardstick.each}
        return digest({"made": row.key, **scored, **how})

    def _runtimes_python(self, row: "Row") -> str:
        if row.peer and row.peer.runs_itself:
            return python_of(row.peer, self._home(row.peer))
        return sys.executable

    def _made(self, row: "Row") -> Made:
        kept = row.place / "made.json"
        if kept.is_file() and row.artifact.exists() and not self.again:
            made = Made.model_validate_json(kept.read_text())
            if made.key == row.key:
                return made
        self.say(f"{row.name}: quantising")
        kept.unlink(missing_ok=True)
        if row.artifact.is_relative_to(row.place):
            remove(row.artifact)
        row.place.mkdir(parents=True, exist_ok=True)
        made = Made(key=row.key, cost=row.make(), before=row.before)
        if not row.artifact.exists() or not size_of(row.artifact):
            raise QuantmakeError(f"{row.name} ended well and wrote nothing to {row.artifact}")
        write_atomically(kept, made.model_dump_json(indent=1) + "\n")
        return made

    def _home(self, peer: Peer) -> Path:
        return self.environments / slug(peer.name)

    def _place(self, owner: str, name: str) -> Path:
        return self.folder / slug(owner) / slug(name)

    def _order(self, artifact: Path, job: Mapping[str, Any]) -> Path:
        order = artifact.parent / "job.json"
        order.write_text(json.dumps(job))
        return order


@dataclass(frozen=True)
class Row:
    """One row before it is measured: `make` writes the artefact, whose inputs `key` stands for.

    `before` are seconds of intermediates; `at` is the folder of its records, where that is not the
    artefact's.
    """

    name: str
    artifact: Path
    key: str
    make: Callable[[], Cost]
    peer: Peer | None
    before: float = 0.0
    backend: str = ""
    at: Path | None = None

    @property
    def place(self) -> Path:
        """Where its records lie."""
        return self.at or self.artifact.parent

    @property
    def runtime(self) -> str:
        """What scores it."""
        return self.peer.runtime if self.peer else self.backend


def read(place: Path) -> Measured | Failed | None:
    """What was measured, if anything."""
    try:
        return OUTCOME.validate_json((place / "result.json").read_bytes())
    except (OSError, ValueError):
        return None


def slug(name: str) -> str:
    """A name as that of a folder: `W4A16 GPTQ, groups of 64` is `w4a16-gptq-groups-of-64`."""
    return re.sub(r"[^a-z0-9_.]+", "-", name.lower()).strip("-")


def digests(paths: Mapping[str, Path]) -> dict[str, str]:
    """The SHA-256 of each target's manifest."""
    manifests = {name: read_small(manifest_path(path)) for name, path in paths.items()}
    return {name: hashlib.sha256(one).hexdigest() for name, one in manifests.items()}


def digest(said: Mapping[str, Any]) -> str:
    """SHA-256 of canonical JSON."""
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
