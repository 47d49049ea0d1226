"""`doit reproduce [TARGET …]`: build again from the same inputs, elsewhere; compare every byte."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts.engine.build.commit import drop_scratch, fresh_scratch
from scripts.engine.build.differences import other_files
from scripts.engine.build.guard import only_one
from scripts.engine.build.perform import Failure
from scripts.engine.commands.graph_command import GraphCommand
from scripts.engine.graph.tasks import UpToDate
from scripts.engine.run.local import LocalExecutor
from scripts.engine.run.unfinished import drop
from scripts.engine.store.manifest import make_manifest, read_manifest
from scripts.errors import QuantmakeError


class ReproduceCommand(GraphCommand):
    """Rebuild in a scratch folder and compare; what is built stays as it is."""

    name = "reproduce"
    doc_purpose = "build again in a scratch folder and compare byte for byte"
    doc_usage = "[TARGET ...] (all that are built and have a lock, if none is named)"

    def _execute(self, pos_args: list[str]) -> int:
        self.dep_manager.close()
        failed = 0
        for name, checker in self.checkers(pos_args):
            if not pos_args and read_manifest(checker.action.target) is None:
                continue
            said = self._compare(name, checker)
            failed += not said.startswith("✓")
            self.outstream.write(f"  {said}\n")
            self.outstream.flush()
        return 1 if failed else 0

    def _compare(self, name: str, checker: UpToDate) -> str:
        """One line, or more where files differ, that starts with ✓ or ✗."""
        action = checker.action
        manifest = read_manifest(action.target)
        if manifest is None:
            return f"✗ {name}: it is not built; run doit first"
        if not action.stage.reproducible:
            return f"✓ {name}: it is measured, not made, so it differs from run to run"
        try:
            with self._again(name, checker) as out:
                again = make_manifest(out)
                other = other_files(manifest.files, again.files)
                told = action.stage.difference(action.target, out) if other else ""
        except (Failure, QuantmakeError, OSError) as error:
            return f"✗ {name}: {error}"
        if other:
            lines = [f"✗ {name}: {len(other)} files differ", *other, *[told] * bool(told)]
            return "\n      ".join(lines)
        size = sum(file.size for file in again.files)
        return f"✓ {name}: {len(again.files)} files, {size:,} bytes, the same byte for byte"

    @contextmanager
    def _again(self, name: str, checker: UpToDate) -> Iterator[Path]:
        action: Any = checker.action
        with only_one(action.target):
            out = fresh_scratch(action.target) / action.target.name
            key = action.key()
            drop(key)
            try:
                LocalExecutor(None).build(name, action, key, out)
                yield out
            finally:
                shutil.rmtree(out, ignore_errors=True)
                drop_scratch(action.target)
