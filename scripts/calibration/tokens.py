"""The calibration's tokens: what activation ranges are taken from, apart from the evaluation."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from scripts.errors import QuantmakeError
from scripts.footprints import FOOTPRINTS
from scripts.stage import Stage

_SHORTEST = 20
_SHOWN = 5


class Calibration(Stage):
    """Choose the calibration's tokens, which share no line with the evaluation's

    `out` receives tokens.npy, int32 [tokens // context, context]. Inputs: the base, the text,
    and the evaluation's texts, `evaluation_text` and `evaluation_text/KIND`, which are only
    compared; `other_lines` are by KIND.
    """

    lines: tuple[int, int]
    tokens: int
    context: int = 512
    evaluation_lines: tuple[int, int]
    other_lines: dict[str, tuple[int, int]] = Field(default_factory=dict)
    footprint = FOOTPRINTS["tokens"]

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError where the texts share a line or this one is too short."""
        from scripts.texts import cut_windows, load_tokenizer, read_lines, text_file
        from scripts.token_windows import write_windows

        own = read_lines(inputs["text"], self.lines)
        other = read_lines(inputs["evaluation_text"], self.evaluation_lines)
        for kind, lines in self.other_lines.items():
            other += read_lines(inputs[f"evaluation_text/{kind}"], lines)
        self._refuse_shared(own, other, text_file(inputs["text"]).name)
        windows = cut_windows(
            "".join(own),
            load_tokenizer(inputs["base"]),
            windows=self.tokens // self.context,
            context=self.context,
            where="the calibration's text",
        )
        write_windows(out, windows)

    def _refuse_shared(self, own: list[str], other: list[str], name: str) -> None:
        known = {line.strip() for line in other if len(line.strip()) >= _SHORTEST}
        shared = [self.lines[0] + place for place, line in enumerate(own) if line.strip() in known]
        if shared:
            shown = ", ".join(map(str, shared[:_SHOWN])) + (" …" if len(shared) > _SHOWN else "")
            raise QuantmakeError(
                f"{len(shared)} lines of {name} are in the calibration and in the evaluation "
                f"(lines {shown}, counted from 0); an artefact must not be measured on what it was "
                "calibrated with. Choose other `lines`."
            )
