"""The base as a GGUF file in F16, which every GGUF artefact is quantised from."""

import difflib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from scripts.backends.float_gate import disagreement
from scripts.backends.gguf import (
    driver,  # its source is a part of the key
    tokenisation,
)
from scripts.errors import MachineError, QuantmakeError, RecipeError
from scripts.footprints import FOOTPRINTS
from scripts.progress import BYTES, Progress
from scripts.stage import Stage

_MODEL = "tokenizer.model"
_CONVERTER = "convert_hf_to_gguf.py"
_PUT_IT_THERE = (
    "Published models of this family have it beside their weights: put it into the source's folder."
)
_WRITTEN = re.compile(r"Writing: +(\d+)%")


class F16Gguf(Stage):
    """Convert the base to GGUF in F16 with llama.cpp's own converter.

    `name` is written as general.name. `tokenizer_pre` is llama.cpp's name of the
    pre-tokenizer, for tokenizers that its converter does not recognise.
    """

    name: str = "model"
    tokenizer_pre: str | None = None
    linkable = True
    suffix = ".gguf"
    footprint = FOOTPRINTS["gguf f16"]
    packages = ("numpy", "sentencepiece", "tokenizers", "torch", "transformers")

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError where llama.cpp does not know the model or its tokenizer."""
        from scripts.backends.gguf.converter_folder import place

        converter = inputs["toolchain"].resolve() / _CONVERTER
        base = inputs["base"].resolve()
        # The base holds Python code only where the recipe trusts it.
        trust = "trust" if any(base.glob("*.py")) else ""
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".convert-") as scratch:
            # The converter guesses metadata from the folder's name: give it a constant one.
            model = Path(scratch) / "model"
            inexact = place(base, model)
            start = [str(driver.__file__), str(converter)]
            names = [self.tokenizer_pre or "", trust]
            settings = ["--outtype", "f16", "--model-name", self.name, "--outfile", str(out)]
            code, log = _run_and_print(
                # -B: no bytecode in the toolchain's folder, whose manifest lists every file.
                [sys.executable, "-B", "-P", *start, *names, *settings, str(model)],
                sum(path.stat().st_size for path in base.glob("*.safetensors")),
            )
        if code != 0 or not out.is_file():
            out.unlink(missing_ok=True)
            raise self._why(log, inputs, inexact)

    def _why(self, log: str, inputs: Mapping[str, Path], inexact: str) -> QuantmakeError:
        config = json.loads((inputs["base"] / "config.json").read_text(encoding="utf-8"))
        architecture = ", ".join(config.get("architectures") or ["(none named)"])
        unrecognised = "pre-tokenizer was not recognized" in log
        has_model = (inputs["base"] / _MODEL).is_file()
        if not has_model and (inexact if unrecognised else _MODEL in log):
            return QuantmakeError(
                f"llama.cpp's converter makes the vocabulary of {architecture} from the file "
                "tokenizer.model (SentencePiece), which the source does not have, and none can be "
                f"made of its tokenizer.json: {inexact or 'it is no SentencePiece vocabulary'}. "
                f"{_PUT_IT_THERE}"
            )
        if unrecognised:
            return RecipeError(
                "llama.cpp does not recognise the model's tokenizer (it knows published ones by a "
                "hash). Set `tokenizer_pre` under `model` in the recipe to the name of one that "
                "splits text alike; GGUF files have it as tokenizer.ggml.pre. The names are "
                f"{', '.join(known_pre_tokenizers(inputs['toolchain']))}."
            )
        if "is not supported" in log or "not supported!" in log:
            return QuantmakeError(
                f"llama.cpp's converter does not know the architecture {architecture} "
                "(`architectures` in the base's config.json), so no GGUF can be made of this "
                "model; take the artefacts with `format: gguf` out of the recipe."
            )
        lines = [line for line in log.splitlines() if line.strip()]
        said = lines[-1] if lines else "it said nothing"
        if "No space left on device" in log or "Disk quota exceeded" in log:
            return MachineError(
                f"no room left on the disk while converting to GGUF ({said}). Free some space "
                "(`cache/` may be deleted at any time) and run doit again."
            )
        return QuantmakeError(
            f"llama.cpp's converter failed on this model ({architecture}): {said}. The task's log "
            "has all that it said."
        )

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """llama.cpp loads it with every tensor that the architecture needs, all finite, and
        predicts with it what the base does."""
        from scripts.backends.gguf.llama import loading_error

        reason = loading_error(out)
        if not reason:
            self._check_size(inputs["base"], out)
            self._check_tokens(inputs["base"], out)
            if other := disagreement("gguf", out, inputs["base"]):
                raise QuantmakeError(other)
            return
        if "unknown pre-tokenizer type" in reason:
            known = known_pre_tokenizers(inputs["toolchain"])
            near = difflib.get_close_matches(str(self.tokenizer_pre), known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise RecipeError(
                f"`tokenizer_pre` under `model` in the recipe is {self.tokenizer_pre!r}, which "
                f"llama.cpp does not know.{hint} The names are {', '.join(known)}."
            )
        raise QuantmakeError(f"llama.cpp can't load the F16 file made of the base: {reason}")

    def _check_tokens(self, base: Path, out: Path) -> None:
        """Of a SentencePiece vocabulary that came without tokenizer.model."""
        from scripts.backends.gguf.sentencepiece_model import is_sentencepiece

        if (base / _MODEL).is_file() or not is_sentencepiece(base):
            return
        if other := tokenisation.difference(out, base):
            raise QuantmakeError(
                f"llama.cpp would cut text otherwise than the model's own tokenizer: {other}. The "
                f"source has no tokenizer.model (SentencePiece). {_PUT_IT_THERE}"
            )

    def _check_size(self, base: Path, out: Path) -> None:
        """Experts are stacked, so names and counts may differ, but no values get lost.

        A tied head and buffers, which the base does not hold, may come on top.
        """
        from scripts.tensors.gguf_header import tensors_of
        from scripts.tensors.header import tensors_in

        expected = sum(tensor.values for tensor in tensors_in(base).values())
        written = sum(tensor.values for tensor in tensors_of(out).values())
        if written < expected:
            raise QuantmakeError(
                f"llama.cpp's converter left weights out: the base has {expected:,} values, "
                f"{out.name} has {written:,}"
            )


def known_pre_tokenizers(toolchain: Path) -> list[str]:
    """The names that the converter can find by itself (get_vocab_base_pre)."""
    source = (toolchain / "conversion" / "base.py").read_text(encoding="utf-8")
    return sorted(set(re.findall(r'^ +res = "([^"]+)"', source, re.MULTILINE)))


def _run_and_print(command: list[str], size: int) -> tuple[int, str]:
    """Run to the end, offline; print the output as it comes, and return it.

    The converter's own bar says how much of the file, of about `size` bytes, is written.
    """
    process = subprocess.Popen(
        command,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    lines, bar = [], Progress("converting", size, BYTES)
    with process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            lines.append(line)
            if share := _WRITTEN.match(line):
                bar.advance(int(share[1]) / 100 * size - bar.done)
    return process.returncode, "".join(lines)
