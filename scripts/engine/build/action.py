"""An action: one stage with its options, its inputs and its target, and the key of all that.

The action key is the SHA-256 of canonical JSON of everything that the output's bytes depend
on. Where it is unchanged, and the target is as its manifest says, there is nothing to do.
"""

import hashlib
import json
import platform
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from scripts.engine.build.sources import imported_packages, source_digests
from scripts.engine.store.manifest import manifest_path, read_small
from scripts.environment import arithmetic_key
from scripts.extras import version_of
from scripts.stage import Stage


@cache
def _version(package: str) -> str:
    """The public version: what follows a `+` names the index that served it."""
    try:
        return version_of(package).partition("+")[0]
    except metadata.PackageNotFoundError:
        return "not installed"


@cache
def _arithmetic(canonical: bool) -> dict[str, str]:
    return arithmetic_key(canonical=canonical)


@dataclass(frozen=True)
class Action:
    """`stage` reads `inputs` (targets of other actions, by name) and makes `target`."""

    stage: Stage
    inputs: dict[str, Path]
    target: Path

    @property
    def stage_name(self) -> str:
        """The stage as `module:Class`."""
        return f"{type(self.stage).__module__}:{type(self.stage).__name__}"

    def parts(self) -> dict[str, object]:
        """Everything that goes into the key, by kind. The inputs' manifests must exist."""
        return {
            "stage": self.stage_name,
            "options": self.stage.model_dump(mode="json"),
            "inputs": {
                name: hashlib.sha256(read_small(manifest_path(path))).hexdigest()
                for name, path in sorted(self.inputs.items())
            },
            **self.tools(),
        }

    def tools(self) -> dict[str, object]:
        """The parts of the key that are this machine's: sources, packages, Python, arithmetic."""
        stage = self.stage
        modules = (type(stage).__module__, *stage.reaches())
        packages = imported_packages(*modules) | set(stage.uses())
        return {
            "sources": source_digests(*modules),
            "packages": {name: _version(name) for name in sorted(packages)},
            "python": ".".join(platform.python_version_tuple()[:2]),
            "arithmetic": _arithmetic(stage.canonical),
        }

    def key(self) -> str:
        """The action key, in hex."""
        return key_of(self.parts())

    def to_json(self, out: Path) -> str:
        """The action as data, for `python -m scripts.exec`; the stage writes to `out`."""
        return json.dumps(
            {
                "stage": self.stage_name,
                "options": self.stage.model_dump(mode="json"),
                "inputs": {name: str(path) for name, path in self.inputs.items()},
                "out": str(out),
            },
            indent=1,
            sort_keys=True,
        )


def key_of(parts: dict[str, object]) -> str:
    """SHA-256 of canonical JSON: sorted keys, no spaces, UTF-8."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
