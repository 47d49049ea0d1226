"""Score one artefact of an encoder, in a process of its own, since a broken one may end it.

`python -m scripts.evaluation.encoder_score NAME BACKEND ARTEFACT BASE REFERENCE OUT` writes an
`Embedded` record to OUT; a failure is printed as `error: …`.
"""

import sys

import numpy as np

from scripts.backends.encoder import embed_all, load_encoder
from scripts.errors import QuantmakeError
from scripts.evaluation.embeddings import embedding_quality
from scripts.evaluation.encoder import BATCH, EMBEDDINGS
from scripts.evaluation.result import Embedded, TextEmbeddings
from scripts.evaluation.score import Candidate, measure_size, write_measured
from scripts.lean import start_lean
from scripts.sentences import read_sentences
from scripts.workers import available_cores


def measure(candidate: Candidate) -> Embedded:
    """Raises QuantmakeError where the artefact does not load or gives broken embeddings."""
    sentences = read_sentences(candidate.reference)
    base = np.load(candidate.reference / EMBEDDINGS)
    own = base
    if not candidate.is_base:
        encoder = load_encoder(candidate.backend, candidate.artifact, threads=available_cores())
        own = embed_all(encoder, sentences.all, BATCH)
    if own.shape != base.shape:
        raise QuantmakeError(
            f"{candidate.name} gives embeddings {own.shape[1]} wide, the base {base.shape[1]}; "
            "they are not the same model"
        )
    texts = tuple(
        TextEmbeddings(kind=kind, quality=embedding_quality(base[part], own[part]))
        for kind, part in sentences.slices().items()
    )
    size, notes = measure_size(candidate.backend, candidate.artifact, candidate.base)
    return Embedded(
        artifact=candidate.name,
        backend=candidate.backend,
        size=size,
        quality=min((one.quality for one in texts), key=lambda one: one.cosine.value),
        texts=texts,
        longest=sentences.longest,
        truncated=sentences.truncated,
        notes=notes,
    )


if __name__ == "__main__":
    start_lean()
    sys.exit(write_measured(measure, sys.argv[1:]))
