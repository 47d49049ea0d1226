"""The base as a GGUF file in F16, which every GGUF artefact is quantised from."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from scripts.errors import QuantmakeError
from scripts.stage import Stage


class F16Gguf(Stage):
    """Convert the base to GGUF in F16 with llama.cpp's own converter.

    `name` is written as general.name. `tokenizer_pre` is llama.cpp's name of the
    pre-tokenizer, for tokenizers that its converter does not recognise.
    """

    name: str = "model"
    tokenizer_pre: str | None = None
    packages = ("torch", "transformers", "numpy", "safetensors")

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError where llama.cpp does not know the model or its tokenizer."""
        toolchain = inputs["toolchain"].resolve()
        driver = Path(__file__).with_name("driver.py")
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".convert-") as scratch:
            # The converter guesses metadata from the folder's name: give it a constant one.
            model = Path(scratch) / "model"
            model.symlink_to(inputs["base"].resolve(), target_is_directory=True)
            done = subprocess.run(
                [
                    *(sys.executable, str(driver), str(toolchain / "convert_hf_to_gguf.py")),
                    self.tokenizer_pre or "",
                    *("--outtype", "f16", "--model-name", self.name, "--outfile", str(out)),
                    str(model),
                ],
                env={**os.environ, "HF_HUB_OFFLINE": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                check=False,
            )
        print(done.stdout, flush=True)
        if done.returncode != 0 or not out.is_file():
            out.unlink(missing_ok=True)
            raise QuantmakeError(self._why(done.stdout, inputs["base"]))

    def _why(self, log: str, base: Path) -> str:
        config = json.loads((base / "config.json").read_text())
        architecture = ", ".join(config.get("architectures") or ["(none named)"])
        if "pre-tokenizer was not recognized" in log:
            return (
                f"llama.cpp does not recognise the tokenizer of {base} (it knows published ones by "
                "a hash). Set `tokenizer_pre` under `model` in the recipe to the name of an equal "
                "one, such as llama-bpe, gpt-2, qwen2 or smollm; GGUF fields call it "
                "tokenizer.ggml.pre."
            )
        if "is not supported" in log or "not supported!" in log:
            return (
                f"llama.cpp's converter does not know the architecture {architecture} "
                f"({base}/config.json), so no GGUF can be made of this model; take the "
                "artefacts with format gguf out of the recipe."
            )
        last = log.strip().splitlines()[-1] if log.strip() else "it said nothing"
        return f"llama.cpp's converter failed on {base} ({architecture}): {last}"

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """As many tensors as the base has, and all of them finite."""
        import numpy
        from gguf import GGUFReader
        from safetensors import safe_open

        names: set[str] = set()
        for shard in sorted(inputs["base"].glob("*.safetensors")):
            with safe_open(shard, "np") as weights:
                names.update(weights.keys())
        tensors = GGUFReader(out).tensors
        if len(tensors) < len(names):
            raise QuantmakeError(f"{out.name} has {len(tensors)} tensors, the base {len(names)}")
        bad = [tensor.name for tensor in tensors if not numpy.isfinite(tensor.data).all()]
        if bad:
            raise QuantmakeError(f"{out.name}: not finite: {', '.join(bad)}")
