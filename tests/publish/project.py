"""A checkout whose artefacts are small files that count as built, measured and in the lock."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from scripts.engine.build.record import Cost, write_record
from scripts.engine.store.lock import LockFile
from scripts.engine.store.manifest import companion, make_manifest, manifest_path
from tests.checkout import Checkout, make_checkout

KEY = "ab" * 32
ARTIFACTS = ("model-int8", "model.gguf")


@dataclass
class Published:
    """The checkout, in which `doit publish` runs as a person would run it."""

    checkout: Checkout

    @property
    def folder(self) -> Path:
        """The root of the checkout."""
        return self.checkout.folder

    def target(self, name: str) -> Path:
        """Where an artefact lies."""
        return self.folder / "quantized" / name

    def publish(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `doit publish ARGUMENTS` to its end."""
        own = {"PYTHONPATH": str(self.folder), "HOME": str(self.folder / "home")}
        inherited = {name: text for name, text in os.environ.items() if not name.startswith("HF_")}
        return subprocess.run(
            [sys.executable, "-m", "doit", "publish", *arguments],
            cwd=self.folder,
            env={**inherited, **own, **environment},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )


def make_published(folder: Path) -> Published:
    """Write the checkout into `folder`."""
    (folder / "model").mkdir()
    (folder / "text.txt").touch()
    checkout = make_checkout(folder, folder / "model", folder / "text.txt")
    made = Published(checkout)
    (made.target("model-int8") / "onnx").mkdir(parents=True)
    (made.target("model-int8") / "onnx/model.onnx").write_bytes(b"onnx" * 5000)
    (made.target("model-int8") / "config.json").write_text("{}")
    made.target("model.gguf").write_bytes(b"GGUF" * 5000)
    for name in ARTIFACTS:
        _count_as_built(made, name)
    report = "# The report\n\n![sizes](charts/sizes.svg)\n"
    (folder / "QUANTISATION-REPORT.md").write_text(report)
    (folder / "charts").mkdir()
    (folder / "charts/sizes.svg").write_text("<svg/>")
    (folder / "charts/unused.svg").write_text("<svg/>")
    return made


def _count_as_built(made: Published, name: str) -> None:
    target, manifest = made.target(name), make_manifest(made.target(name))
    manifest_path(target).parent.mkdir(exist_ok=True)
    manifest_path(target).write_text(manifest.to_json())
    write_record(target, KEY, {"options": {}}, manifest, Cost())
    lock, here = LockFile(made.folder / "recipes/tiny.lock"), Path("quantized") / name
    back = Path.cwd()
    os.chdir(made.folder)  # locks lie in cache/
    try:
        lock.write(here, {"options": {}}, KEY, manifest)
    finally:
        os.chdir(back)
    statement = {"predicate": {"runDetails": {"metadata": {"invocationId": KEY}}}}
    companion(target, "README.md").write_text("---\nlicense: mit\n---\n# a card\n")
    companion(target, "bom.cdx.json").write_text("{}")
    companion(target, "provenance.intoto.json").write_text(json.dumps(statement))
