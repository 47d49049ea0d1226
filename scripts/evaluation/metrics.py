"""Quality against the FP16 base, window by window: memory does not grow with the text."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.evaluation.result import Estimate, Quality

_FLIPS = 10
# So few tokens at a time that the temporary arrays stay in the caches.
_ROWS = 32


@dataclass(frozen=True)
class TokenFlip:
    """Where the most likely next token differs: token ids, probabilities, KLD in nats.

    `position` counts the scored tokens of the window.
    """

    kld: float
    window: int
    position: int
    expected: int
    expected_p: float
    got: int
    got_p: float


class Comparison:
    """Collects per-token figures of an artefact beside its base.

    KLD is KL(base ‖ artefact) in nats; Δp is the artefact's probability of the observed token
    less the base's. Definitions as in llama.cpp's llama-perplexity --kl-divergence.
    """

    def __init__(self) -> None:
        self._rows: list[NDArray[np.float64]] = []
        self._flips: list[TokenFlip] = []

    def add(self, base: torch.Tensor, logits: torch.Tensor, observed: torch.Tensor) -> None:
        """Compare one window.

        base: log-probabilities [n, vocabulary]; logits of the artefact [n, vocabulary];
        observed: the token ids that followed [n].
        """
        whole = (base, logits, observed.long())
        pieces = zip(*(torch.split(one, _ROWS) for one in whole), strict=True)
        columns = zip(*(_compare(*rows) for rows in pieces), strict=True)
        kld, own, theirs, expected, expected_p, got, got_p = map(torch.cat, columns)
        agrees = got == expected
        flips = (~agrees).nonzero()[:, 0]
        worst = flips[kld[flips].argsort(descending=True)[:_FLIPS]]
        self._flips += [
            TokenFlip(
                float(kld[place]),
                len(self._rows),
                place,
                int(expected[place]),
                float(expected_p[place].exp()),
                int(got[place]),
                float(got_p[place].exp()),
            )
            for place in worst.tolist()
        ]
        self._flips = self.worst_flips()
        rows = torch.stack([kld, own.double(), theirs.double(), agrees.double()])
        self._rows.append(rows.numpy())

    def worst_flips(self) -> list[TokenFlip]:
        """Those with the largest divergence, the worst first; at most ten."""
        return sorted(self._flips, key=lambda one: (-one.kld, one.window, one.position))[:_FLIPS]

    def quality(self, windows: slice = slice(None)) -> Quality:
        """Means, standard errors and percentiles over the tokens of some windows, in the order in
        which they were added."""
        kld, own, theirs, agrees = np.concatenate(self._rows[windows], axis=1)
        return Quality(
            tokens_scored=len(kld),
            perplexity=_exponential(-own),
            perplexity_ratio=_exponential(theirs - own),
            kld_mean=mean(kld),
            kld_p99=float(np.quantile(kld, 0.99)),
            kld_p999=float(np.quantile(kld, 0.999)),
            top1_agreement=mean(agrees),
            rms_delta_p=float(np.sqrt(np.mean((np.exp(own) - np.exp(theirs)) ** 2))),
        )


def _compare(
    base: torch.Tensor, logits: torch.Tensor, observed: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """A few tokens [n]: KLD; log-probabilities of what followed, mine and the base's; the base's
    most likely token and its log-probability; mine and its log-probability."""
    mine = torch.log_softmax(logits.float(), -1)
    kld = (base - mine).mul_(base.exp()).sum(-1, dtype=torch.float64)
    at = observed[:, None]
    own, theirs = mine.gather(-1, at)[:, 0], base.gather(-1, at)[:, 0]
    (got_p, got), (expected_p, expected) = mine.max(-1), base.max(-1)
    return kld, own, theirs, expected, expected_p, got, got_p


def mean(values: NDArray[np.float64]) -> Estimate:
    """The mean and its standard error."""
    error = values.std(ddof=1) / np.sqrt(len(values))
    return Estimate(value=float(values.mean()), se=float(error))


def _exponential(values: NDArray[np.float64]) -> Estimate:
    """exp of the mean, its error by the delta method; of paired differences, a paired error."""
    exponent = mean(values)
    value = float(np.exp(exponent.value))
    return Estimate(value=value, se=value * exponent.se)
