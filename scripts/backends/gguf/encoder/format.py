"""GGUF files of encoders, in llama.cpp's plain types."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from scripts.backends.format import Format, register
from scripts.backends.gguf.format import GgufFile, GgufType
from scripts.footprints import Footprint
from scripts.forecast import Inputs


@register
class EncoderGguf(Format):
    """GGUF of an encoder, one file for llama.cpp, of one of its types"""

    format: Literal["gguf"]
    type: GgufType
    """llama.cpp's name of it; weights are rounded by llama.cpp"""

    backend = "gguf"
    model = "encoder"
    needs = ("f16",)
    suffix = ".gguf"
    linkable = True

    @classmethod
    def unsupported(cls, entry: Mapping[str, object]) -> str:
        """What is chosen by measuring a decoder."""
        measured = {
            "type: auto": entry.get("type") == "auto",
            "method: gptq": entry.get("method") == "gptq",
            "imatrix: true": bool(entry.get("imatrix")),
        }
        wanted = [text for text, is_wanted in measured.items() if is_wanted]
        if not wanted:
            return ""
        return (
            f"{' and '.join(wanted)} can't be had for an encoder, since nothing measures what an "
            "error in each of its tensors costs; write one of llama.cpp's plain types, such as "
            "{format: gguf, type: q8_0}"
        )

    @property
    def file(self) -> GgufFile:
        """A decoder's file of the same type, which is made alike."""
        return GgufFile(format="gguf", type=self.type)

    def label(self) -> str:
        """Such as `GGUF Q8_0`."""
        return self.file.label()

    def words(self) -> dict[str, str]:
        """Of the type."""
        return self.file.words()

    def choice(self) -> dict[str, object]:
        """The type, too."""
        return self.file.choice()

    def takes(self) -> Footprint:
        """As a decoder's."""
        return self.file.takes()

    def refusal(self, inputs: Inputs) -> str:
        """Widths that no block divides."""
        return self.file.refusal(inputs)

    def others(self) -> Iterator[Format]:
        """As of a decoder."""
        return self.file.others()

    def reaches(self) -> tuple[str, ...]:
        """llama.cpp's own rounding."""
        return self.file.reaches()

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """As `GgufFile.run`."""
        self.file.run(inputs, out)

    def difference(self, before: Path, after: Path) -> str:
        """By tensors."""
        return self.file.difference(before, after)

    def check(self, inputs: Mapping[str, Path], out: Path) -> None:
        """The same tensors as the F16 file, some quantised; llama.cpp loads it, all finite."""
        self.file.check(inputs, out)
