"""An encoder as a GGUF file in F16."""

from collections.abc import Mapping
from pathlib import Path

from scripts.backends.float_gate import ENCODERS, disagreement
from scripts.backends.gguf.f16 import F16Gguf
from scripts.errors import QuantmakeError


class EncoderF16(F16Gguf):
    """Convert an encoder to GGUF in F16 with llama.cpp's own converter

    Its options are those of `F16Gguf`; the file holds how its embeddings are pooled.
    """

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """llama.cpp loads it, and embeds with it as the base does."""
        from scripts.backends.gguf.llama import loading_error

        if reason := loading_error(out):
            raise QuantmakeError(f"llama.cpp can't load the F16 file made of the base: {reason}")
        if other := disagreement("gguf", out, inputs["base"], ENCODERS):
            raise QuantmakeError(other)
