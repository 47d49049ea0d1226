"""How near embeddings are to the base's."""

import numpy as np
from numpy.typing import NDArray

from scripts.evaluation.metrics import mean
from scripts.evaluation.result import EmbeddingQuality

Floats = NDArray[np.float32]


def embedding_quality(base: Floats, other: Floats) -> EmbeddingQuality:
    """Of embeddings [n, width] of length 1 of the same sentences."""
    one, two = base.astype(np.float64), other.astype(np.float64)
    cosines = (one * two).sum(1)
    return EmbeddingQuality(
        sentences=len(cosines),
        cosine=mean(cosines),
        cosine_p01=float(np.quantile(cosines, 0.01)),
        spearman=spearman(similarities(one), similarities(two)),
    )


def similarities(embeddings: NDArray[np.float64]) -> NDArray[np.float64]:
    """The cosines of all pairs of two sentences, [n (n - 1) / 2]."""
    pairs: NDArray[np.float64] = (embeddings @ embeddings.T)[np.triu_indices(len(embeddings), 1)]
    return pairs


def spearman(one: NDArray[np.float64], two: NDArray[np.float64]) -> float:
    """The rank correlation of values [n]; equal values share their mean rank."""
    return float(np.corrcoef(_ranks(one), _ranks(two))[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: NDArray[np.float64] = (ends - (counts - 1) / 2)[inverse]
    return ranks
