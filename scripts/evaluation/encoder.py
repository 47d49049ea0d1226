"""The stages that measure an encoder: the base's embeddings, each artefact's, the timings."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from scripts.backends.table import YARDSTICK, modules_of_encoder
from scripts.evaluation.evaluate import Evaluate
from scripts.evaluation.result import Speed
from scripts.evaluation.timings import NotTimed, TimeAll, Worker
from scripts.footprints import FOOTPRINTS
from scripts.stage import Stage

EMBEDDINGS = "embeddings.npy"
BATCH = 32
"""Sentences that are embedded together, padded to the longest of them."""


class EncoderReference(Stage):
    """Embed the evaluation's sentences with the FP16 base, in FP32

    `sentences` of each text, evenly over its lines. `out` receives sentences.json, the token ids
    by kind, and embeddings.npy, float32 [n, width]. The input `text` is of the kind `kind`;
    `others` are the lines of the inputs `text/KIND`.
    """

    lines: tuple[int, int]
    kind: str = "like-calibration"
    others: dict[str, tuple[int, int]] = Field(default_factory=dict)
    sentences: int = 128
    canonical = False
    footprint = FOOTPRINTS["reference"]

    def reaches(self) -> tuple[str, ...]:
        """What loads the base."""
        return modules_of_encoder(YARDSTICK)

    def run(self, inputs: Mapping[str, Path], out: Path) -> None:
        """Raises QuantmakeError where a text is too short or the base's embeddings are broken."""
        import numpy as np

        from scripts.backends.encoder import embed_all, load_encoder
        from scripts.base.encoder_config import read_pooling
        from scripts.sentences import sentences_in, spread_out, tokenised, write_sentences
        from scripts.texts import read_lines
        from scripts.workers import available_cores

        texts = {self.kind: ("text", self.lines)}
        texts |= {kind: (f"text/{kind}", lines) for kind, lines in self.others.items()}
        chosen = {
            kind: spread_out(
                sentences_in(read_lines(inputs[name], lines)),
                self.sentences,
                f"the evaluation's text ({kind})",
            )
            for kind, (name, lines) in texts.items()
        }
        sentences = tokenised(chosen, inputs["base"], read_pooling(inputs["base"]).longest)
        print(
            f"{len(sentences.all)} sentences; {sentences.truncated} were longer than the "
            f"{sentences.longest} tokens that the model takes, and cut",
            flush=True,
        )
        write_sentences(out, sentences)
        encoder = load_encoder(YARDSTICK, inputs["base"], threads=available_cores())
        np.save(out / EMBEDDINGS, embed_all(encoder, sentences.all, BATCH))


class EncoderEvaluate(Evaluate):
    """Measure one artefact of an encoder against the FP16 base

    As `Evaluate`; `out` is an `Embedded` or a `Failed`.
    """

    scores = "scripts.evaluation.encoder_score"

    def reaches(self) -> tuple[str, ...]:
        """What scores it, in a process of its own, and what its backend reads it with."""
        return (self.scores, *modules_of_encoder(self.backend))


class EncoderTimeAll(TimeAll):
    """Time all artefacts of an encoder, and the float model in each runtime, in turn

    As `TimeAll`, in sentences a second: in batches, and one by one.
    """

    times = "scripts.evaluation.encoder_speed"

    def reaches(self) -> tuple[str, ...]:
        """What times them, in processes of their own, and what loads them."""
        modules = {name for one in self.rows.values() for name in modules_of_encoder(one)}
        return (self.times, *sorted(modules))

    def speed_of(self, worker: Worker) -> Speed | str:
        """As `TimeAll.speed_of`."""
        try:
            peak = worker.end()
        except NotTimed as error:
            return f"it could not be timed: {error}"
        measured = {
            "sentences_per_s": worker.spread("batch"),
            "single_sentences_per_s": worker.spread("single"),
            "load_s": worker.loaded["load_s"],
            "peak_rss_bytes": int(peak),
        }
        return Speed.none(worker.loaded["threads"]).model_copy(update=measured)
