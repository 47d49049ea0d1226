"""The sentences that an encoder is calibrated on, apart from the evaluation's."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from scripts.errors import QuantmakeError
from scripts.footprints import FOOTPRINTS
from scripts.stage import Stage

Lines = tuple[int, int]


class EncoderCalibration(Stage):
    """Choose the calibration's sentences, none of which is the evaluation's

    `sentences` of the lines of the input `text`, and as many of each of the inputs `text/KIND`, of
    which `others` has the lines by KIND. The evaluation's texts, `evaluation_text` and
    `evaluation_text/KIND`, are only compared; `other_lines` are theirs by KIND.
    """

    lines: Lines
    sentences: int
    others: dict[str, Lines] = Field(default_factory=dict)
    evaluation_lines: Lines
    other_lines: dict[str, Lines] = Field(default_factory=dict)
    footprint = FOOTPRINTS["tokens"]

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError where the texts share a sentence or one of ours is too short."""
        from scripts.sentences import sentences_in, spread_out, tokenised, write_sentences
        from scripts.texts import read_lines, text_file

        apart = {"evaluation_text": self.evaluation_lines}
        apart |= {f"evaluation_text/{kind}": lines for kind, lines in self.other_lines.items()}
        scored = {
            one
            for name, lines in apart.items()
            for one in sentences_in(read_lines(inputs[name], lines))
        }
        own = {"text": self.lines, **{f"text/{kind}": of for kind, of in self.others.items()}}
        chosen = {}
        for name, lines in own.items():
            found = sentences_in(read_lines(inputs[name], lines))
            shared = [one for one in found if one in scored]
            if shared:
                raise QuantmakeError(
                    f"{len(shared)} sentences of {text_file(inputs[name]).name} are in the "
                    f"calibration and in the evaluation, such as {shared[0]!r}; an artefact must "
                    "not be measured on what it was calibrated with. Choose other `lines`."
                )
            chosen[name] = spread_out(found, self.sentences, f"the calibration's {name}")
        write_sentences(out, tokenised(chosen, inputs["base"]))
