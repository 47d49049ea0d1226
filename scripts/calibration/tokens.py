"""The calibration's tokens: what calibrated methods learn from, apart from the evaluation."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import Field

from scripts.errors import QuantmakeError
from scripts.footprints import FOOTPRINTS
from scripts.stage import Stage

_SHORTEST = 20
_SHOWN = 5

Lines = tuple[int, int]


class Calibration(Stage):
    """Choose the calibration's tokens, which share no line with the evaluation's

    `out` receives tokens.npy, int32 [windows, context]: whole windows of `tokens` of the input
    `text`, and of texts of other kinds, `text/KIND`, of which `others` has lines and tokens by
    KIND. The kinds alternate, so that the first windows are of all of them. The evaluation's texts,
    `evaluation_text` and `evaluation_text/KIND`, are only compared; `other_lines` are theirs by
    KIND.
    """

    lines: Lines
    tokens: int
    context: int = 512
    others: dict[str, tuple[Lines, int]] = Field(default_factory=dict)
    evaluation_lines: Lines
    other_lines: dict[str, Lines] = Field(default_factory=dict)
    footprint = FOOTPRINTS["tokens"]

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError where the texts share a line or one of ours is too short."""
        import numpy as np

        from scripts.texts import cut_windows, load_tokenizer, read_lines, text_file
        from scripts.token_windows import write_windows

        scored = read_lines(inputs["evaluation_text"], self.evaluation_lines)
        for kind, lines in self.other_lines.items():
            scored += read_lines(inputs[f"evaluation_text/{kind}"], lines)
        tokenizer = load_tokenizer(inputs["base"])
        windows = []
        for name, lines, tokens in self._own():
            text = read_lines(inputs[name], lines)
            _refuse_shared(text, scored, text_file(inputs[name]).name, lines[0])
            count = tokens // self.context
            where = f"the calibration's {name}"
            cut = cut_windows(
                "".join(text), tokenizer, windows=count, context=self.context, where=where
            )
            windows += [((place + 0.5) / count, window) for place, window in enumerate(cut)]
        windows.sort(key=lambda placed: placed[0])
        write_windows(out, np.stack([window for _, window in windows]))

    def _own(self) -> Iterator[tuple[str, Lines, int]]:
        """The inputs to calibrate on, their lines and how many tokens of each."""
        yield "text", self.lines, self.tokens
        for kind, (lines, tokens) in self.others.items():
            yield f"text/{kind}", lines, tokens


def _refuse_shared(own: list[str], scored: list[str], name: str, first: int) -> None:
    known = {line.strip() for line in scored if len(line.strip()) >= _SHORTEST}
    shared = [first + place for place, line in enumerate(own) if line.strip() in known]
    if shared:
        shown = ", ".join(map(str, shared[:_SHOWN])) + (" …" if len(shared) > _SHOWN else "")
        raise QuantmakeError(
            f"{len(shared)} lines of {name} are in the calibration and in the evaluation "
            f"(lines {shown}, counted from 0); an artefact must not be measured on what it was "
            "calibrated with. Choose other `lines`."
        )
