"""Whether a float encoder embeds as the base does; where not, nothing is quantised from it.

    python -m scripts.backends.encoder_parity BACKEND FILES BASE

Exit code 1, and a text for people, where it does not.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scripts.backends.parity import TEXT, compare_or_say
from scripts.backends.table import BACKENDS, YARDSTICK
from scripts.errors import QuantmakeError
from scripts.lean import start_lean

if TYPE_CHECKING:
    from scripts.backends.encoder import Encoder, Floats, Sentence

IN_NO_KEY = "it looks at what was made; the bytes are those of the exporter"

_WORDS = (1, 2, 3, 5, 8, 13, 21, 34)
_SENTENCES = 24


def sentences_of(base: Path) -> "list[Sentence]":
    """Pieces of TEXT of many lengths, as token ids, one as long as the model takes."""
    from scripts.base.encoder_config import read_pooling
    from scripts.texts import load_tokenizer

    tokenizer, longest = load_tokenizer(base), read_pooling(base).longest
    words = TEXT.split()
    starts = [place * len(words) // _SENTENCES for place in range(_SENTENCES)]
    pieces = [
        " ".join(words[start : start + _WORDS[place % len(_WORDS)]])
        for place, start in enumerate(starts)
    ]
    texts = [*pieces, " ".join(words * (1 + longest // len(words)))]
    return [tokenizer(text, truncation=True, max_length=longest)["input_ids"] for text in texts]


def refuse_other_embeddings(backend: str, files: Path, base: Path) -> None:
    """Raise QuantmakeError where the float model in `files` does not embed as the base does, or
    where the embedding of a sentence depends on what else is in its batch."""
    from scripts.backends.encoder import load_encoder
    from scripts.workers import available_cores

    sentences = sentences_of(base)
    wanted = _alone(load_encoder(YARDSTICK, base, threads=available_cores()), sentences)
    encoder = load_encoder(backend, files, threads=available_cores())
    alone, together = _alone(encoder, sentences), encoder.embed(sentences)
    if alone.shape != wanted.shape:
        raise QuantmakeError(
            f"it gives embeddings {alone.shape[1]} wide, the base {wanted.shape[1]}: the exporter "
            "made another model of it"
        )
    of_base = (alone * wanted).sum(1)
    of_batch = (alone * together).sum(1)
    model = BACKENDS[backend].float_model
    least = 1 - 10 * model.rounding**2
    print(
        f"{model.label} beside the base, {len(sentences)} texts: cosine {of_base.mean():.7f} "
        f"(least {of_base.min():.7f}, allowed {least:.5f}); in a padded batch and alone "
        f"{of_batch.min():.7f}",
        flush=True,
    )
    if of_base.min() < least:
        raise QuantmakeError(
            f"{model.label} does not embed as the base does: the cosine is {of_base.mean():.4f} on "
            f"average, {of_base.min():.4f} at least, where rounding explains {least:.5f}. The "
            "likely cause are weights, positions or the pooling, which the exporter took "
            f"otherwise. {_NOTHING}"
        )
    if of_batch.min() < least:
        raise QuantmakeError(
            f"{model.label} gives a sentence another embedding where longer ones are in its batch: "
            f"the cosine is {of_batch.min():.4f}, where rounding explains {least:.5f}. The likely "
            f"cause is the attention mask: padding is attended to. {_NOTHING}"
        )


_NOTHING = (
    "Everything that is quantised from it would be as wrong, so nothing is. Take the artefacts of "
    "this format out of the recipe; those of other formats are made from files of their own."
)


def _alone(encoder: "Encoder", sentences: "list[Sentence]") -> "Floats":
    return np.concatenate([encoder.embed([one]) for one in sentences])


if __name__ == "__main__":
    start_lean()
    sys.exit(compare_or_say(refuse_other_embeddings, sys.argv[1:]))
