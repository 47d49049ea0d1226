"""`doit verify [--deep]`: every built target against its manifest; runs and changes nothing."""

from collections.abc import Iterator
from pathlib import Path

from scripts.engine.build.aside import aside_of
from scripts.engine.commands.graph_command import GraphCommand, checker_of, option
from scripts.engine.graph.tasks import UpToDate
from scripts.engine.store.lock import outputs
from scripts.engine.store.manifest import manifest_path, paths_in, read_manifest, sha256_of
from scripts.engine.store.signatures import faults_of_signatures

DEEP = option("deep", False, "read every file again and compare its SHA-256, not only its size")
SIGNED = option("signed", "", "the signatures of all artefacts too, by this public key (PEM)")


def faults(target: Path, *, deep: bool) -> Iterator[str]:
    """What is wrong with a target, in words; nothing where it is as its manifest says."""
    manifest = read_manifest(target)
    if manifest is None:
        if aside_of(target).exists():
            yield f"{target}: was rejected and is kept as {aside_of(target)}"
        elif target.exists() or manifest_path(target).exists():
            yield f"{target}: its manifest {manifest_path(target)} is missing or can't be read"
        return
    for entry in manifest.files:
        path = paths_in(target, manifest)[entry.path]
        if not path.is_file():
            yield f"{path}: is missing"
        elif path.stat().st_size != entry.size:
            yield f"{path}: has {path.stat().st_size:,} bytes, not {entry.size:,}"
        elif deep and (found := sha256_of(path)) != entry.sha256:
            yield f"{path}: has SHA-256 {found}, not {entry.sha256}"


def _drift(checker: UpToDate | None) -> Iterator[str]:
    """Where a target is not what the lock names."""
    if checker is None or checker.lock is None:
        return
    target = checker.action.target
    manifest, entry = read_manifest(target), checker.lock.entry(target)
    if manifest is not None and entry is not None and entry["outputs"] != outputs(manifest):
        yield f"{target}: is not what {checker.lock.path} names"


def _unsigned(checker: UpToDate, public: Path) -> Iterator[str]:
    """What is wrong with the signatures of an artefact that is built."""
    target = checker.action.target
    manifest = read_manifest(target) if checker.lock is not None else None
    if manifest is not None:
        yield from faults_of_signatures(target, manifest, public)


class VerifyCommand(GraphCommand):
    """Compare what was built with its manifests."""

    name = "verify"
    doc_purpose = "compare every built target with its manifest and the lock"
    cmd_options = (DEEP, SIGNED)

    def _execute(self, deep: bool, signed: str) -> int:
        checkers = [checker for task in self.task_list if (checker := checker_of(task))]
        targets = [checker.action.target for checker in checkers]
        self.dep_manager.close()
        built = [target for target in targets if manifest_path(target).exists()]
        found = [fault for target in targets for fault in faults(target, deep=deep)]
        found += [fault for task in self.task_list for fault in _drift(checker_of(task))]
        if signed:
            found += [fault for one in checkers for fault in _unsigned(one, Path(signed))]
        for fault in found:
            self.outstream.write(f"{fault}\n")
        how = "contents" if deep else "names and sizes"
        self.outstream.write(
            f"{len(built)} targets compared with their manifests ({how}): "
            + (f"{len(found)} faults. `doit` builds them again.\n" if found else "all as built.\n")
        )
        return 1 if found else 0
