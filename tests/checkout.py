"""A copy of this project in a folder of its own, with a recipe for the tiny model."""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from scripts.backends.table import BACKENDS
from scripts.exec import MODULES_VARIABLE
from scripts.extras import missing

ROOT = Path(__file__).resolve().parents[1]
TINY_ARTIFACTS = {
    "model-int8": "{format: onnx, bits: 8, method: rtn}",
    "model-int8-dynamic": "{format: onnx, bits: 8, method: dynamic}",
    "model-int8-static": "{format: onnx, bits: 8, method: static}",
    "model-int4": "{format: bitsandbytes}",
    "model-int4-onnx": "{format: onnx, bits: 4, method: rtn}",
    "model.gguf": "{format: gguf, type: q4_0}",
    "model-q8_0.gguf": "{format: gguf, type: q8_0}",
}
OTHER_METHODS = {
    "int8-gptq": "{format: onnx, bits: 8, method: gptq}",
    "int8-static-auto": "{format: onnx, bits: 8, method: static, weight_only: auto, max_kld: 1}",
    "int4-gptq": "{format: onnx, bits: 4, method: gptq}",
    "int4-auto": "{format: onnx, bits: auto, method: gptq}",
    "int4-awq": "{format: onnx, bits: 4, method: awq}",
    "int4-hqq": "{format: onnx, bits: 4, method: hqq}",
    "int4-tuned": "{format: onnx, bits: 4, method: rtn, tune: {tokens: 512}}",
    "nf4-tuned": "{format: bitsandbytes, tune: {tokens: 512}}",
    "tuned.gguf": "{format: gguf, type: q4_0, tune: {tokens: 512}}",
    "web-int8": "{format: onnx-web, bits: 8, method: rtn}",
    "web-int8-dynamic": "{format: onnx-web, bits: 8, method: dynamic, weight_only: []}",
    "web-int8-static": "{format: onnx-web, bits: 8, method: static}",
    "web-int4-gptq": "{format: onnx-web, bits: 4, method: gptq}",
    "web-int4-auto": "{format: onnx-web, bits: auto, method: gptq}",
    "web-int4-awq": "{format: onnx-web, bits: 4, method: awq}",
    "web-int4-hqq": "{format: onnx-web, bits: 4, method: hqq, head_bits: 4}",
    "nf4-gptq": "{format: bitsandbytes, method: gptq}",
    "w4a16-gptq": "{format: compressed-tensors, scheme: W4A16, group_size: 64, method: gptq}",
    "w4a16-awq": "{format: compressed-tensors, scheme: W4A16, group_size: 32, method: awq}",
    "w8a16": "{format: compressed-tensors, scheme: W8A16, group_size: 64}",
    "w8a8": "{format: compressed-tensors, scheme: W8A8, smooth: true, method: gptq}",
    "fp8": "{format: compressed-tensors, scheme: FP8_DYNAMIC, method: gptq}",
    "nvfp4": "{format: compressed-tensors, scheme: NVFP4A16, method: gptq}",
    "imatrix.gguf": "{format: gguf, type: q4_0, imatrix: true}",
    "gptq.gguf": "{format: gguf, type: q4_0, method: gptq}",
    "auto.gguf": "{format: gguf, type: auto, like: q4_0}",
}
OF_EXTRAS = {
    "openvino": {
        "int8-openvino": "{format: openvino, bits: 8, method: rtn}",
        "int4-openvino-gptq": "{format: openvino, bits: 4, method: gptq}",
        "int4-openvino-awq": "{format: openvino, bits: 4, method: awq}",
    },
    "mlx": {
        "int4-mlx": "{format: mlx, bits: 4, method: rtn, overrides: {down_proj: 6}}",
        "int3-mlx-gptq": "{format: mlx, bits: 3, method: gptq, group_size: 32}",
        "int4-mlx-awq": "{format: mlx, bits: 4, method: awq, head_bits: 5}",
    },
}
"""The same of the backends whose packages are an extra or in an environment of their own, by
backend."""


def is_installed(backend: str) -> bool:
    """Whether a backend's packages are there: those of an extra may not be."""
    return not missing(BACKENDS[backend].packages)


for _backend, _lines in OF_EXTRAS.items():
    OTHER_METHODS |= _lines if is_installed(_backend) else {}
"""With TINY_ARTIFACTS, every format and method that there is here."""


def digest_of_folder(folder: Path) -> str:
    """The digest that pins a folder: SHA-256 of the lines of sha256sum, in order of the names."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(folder.iterdir())
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@dataclass
class Checkout:
    """The copy; `doit` runs in it as a person would run it."""

    folder: Path
    model: Path
    text: Path
    artifacts: dict[str, str] = field(default_factory=lambda: dict(TINY_ARTIFACTS))

    @property
    def modules(self) -> Path:
        """Where the processes of stages say which modules they loaded."""
        return self.folder / "modules"

    def write_recipe(self) -> None:
        """Write `recipes/tiny.yaml`, the default recipe of the copy."""
        text_sha256 = hashlib.sha256(self.text.read_bytes()).hexdigest()
        lines = [
            "model:",
            "  name: Tiny",
            f"  source: path:{self.model}",
            f"  sha256: {digest_of_folder(self.model)}",
            "  off_grid: 0",
            "  tokenizer_pre: smollm",
            "calibration:",
            f"  text: path:{self.text}",
            f"  sha256: {text_sha256}",
            "  lines: [150, 300]",
            "  tokens: 1024",
            "  context: 128",
            "evaluation:",
            f"  text: path:{self.text}",
            f"  sha256: {text_sha256}",
            "  lines: [0, 150]",
            "  windows: 8",
            "  context: 128",
            "artifacts:",
            *(f"  {name}: {line}" for name, line in self.artifacts.items()),
        ]
        (self.folder / "recipes/tiny.yaml").write_text("\n".join(lines) + "\n")

    def doit(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `doit ARGUMENTS` to its end."""
        return self.python("-m", "doit", *arguments)

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `python ARGUMENTS` in the copy to its end."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder), MODULES_VARIABLE: str(self.modules)},
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )


def make_checkout(folder: Path, model: Path, text: Path) -> Checkout:
    """Copy the sources of this project into `folder`; its default recipe is the tiny model's."""
    for name in ("scripts", "dodo.py", "pyproject.toml", "pylock.exporters.toml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    project = folder / "pyproject.toml"
    project.write_text(project.read_text().replace('"smollm2-135m"', '"tiny"'))
    for name in ("recipes", "modules"):
        (folder / name).mkdir()
    checkout = Checkout(folder, model, text)
    checkout.write_recipe()
    return checkout


def ran(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The tasks that a `doit` ran to their end, in order."""
    return [line.split()[1] for line in done.stdout.splitlines() if line.startswith("  ✓ ")]
