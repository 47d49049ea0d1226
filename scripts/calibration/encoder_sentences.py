"""The sentences that an encoder is calibrated on, apart from the evaluation's."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from scripts.footprints import FOOTPRINTS
from scripts.stage import Stage

Lines = tuple[int, int]


class EncoderCalibration(Stage):
    """Choose the calibration's sentences, none of which is the evaluation's

    `sentences` of the lines of the input `text`, and as many of each of the inputs `text/KIND`, of
    which `others` has the lines by KIND. The evaluation's texts, `evaluation_text` and
    `evaluation_text/KIND`, are only compared; `other_lines` are theirs by KIND. Sentences that are
    in both are left out.
    """

    lines: Lines
    sentences: int
    others: dict[str, Lines] = Field(default_factory=dict)
    evaluation_lines: Lines
    other_lines: dict[str, Lines] = Field(default_factory=dict)
    footprint = FOOTPRINTS["tokens"]

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError where a text is too short."""
        from scripts.base.encoder_config import read_pooling
        from scripts.sentences import sentences_in, spread_out, tokenised, write_sentences
        from scripts.texts import read_lines

        apart = {"evaluation_text": self.evaluation_lines}
        apart |= {f"evaluation_text/{kind}": lines for kind, lines in self.other_lines.items()}
        scored = {
            one
            for name, lines in apart.items()
            for one in sentences_in(read_lines(inputs[name], lines))
        }
        own = {"text": self.lines, **{f"text/{kind}": of for kind, of in self.others.items()}}
        chosen, base = dict[str, list[str]](), inputs["base"]
        for name, lines in own.items():
            own_sentences = sentences_in(read_lines(inputs[name], lines))
            found = [one for one in own_sentences if one not in scored]
            if shared := len(own_sentences) - len(found):
                print(f"{name}: {shared} sentences are the evaluation's too, and are left out")
            chosen[name] = spread_out(found, self.sentences, f"the calibration's {name}")
        write_sentences(out, tokenised(chosen, base, read_pooling(base).longest))
