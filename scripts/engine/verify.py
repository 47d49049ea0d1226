"""`doit verify [--deep]`: every built target against its manifest; runs and changes nothing."""

from collections.abc import Iterator
from pathlib import Path

from doit.cmd_base import DoitCmdBase

from scripts.engine.manifest import manifest_path, paths_in, read_manifest, sha256_of
from scripts.engine.tasks import UpToDate

DEEP = {
    "name": "deep",
    "long": "deep",
    "type": bool,
    "default": False,
    "help": "read every file again and compare its SHA-256, not only its size",
}


def faults(target: Path, *, deep: bool) -> Iterator[str]:
    """What is wrong with a target, in words; nothing where it is as its manifest says."""
    manifest = read_manifest(target)
    if manifest is None:
        if target.exists() or manifest_path(target).exists():
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


class VerifyCommand(DoitCmdBase):
    """Compare what was built with its manifests."""

    name = "verify"
    doc_purpose = "compare every built target with its manifest"
    doc_usage = ""
    doc_description = None
    cmd_options = (DEEP,)

    def _execute(self, deep: bool) -> int:
        targets = [
            checker.action.target
            for task in self.task_list
            for checker, *_ in task.uptodate
            if isinstance(checker, UpToDate)
        ]
        self.dep_manager.close()
        built = [target for target in targets if manifest_path(target).exists()]
        found = [fault for target in targets for fault in faults(target, deep=deep)]
        for fault in found:
            self.outstream.write(f"{fault}\n")
        how = "contents" if deep else "names and sizes"
        self.outstream.write(
            f"{len(built)} targets compared with their manifests ({how}): "
            + (f"{len(found)} faults. `doit` builds them again.\n" if found else "all as built.\n")
        )
        return 1 if found else 0
