"""SmoothQuant: activations give their outliers to the weights, so that both fit into 8 bits.

Xiao, Lin, Seznec, Wu, Demouth, Han: SmoothQuant, ICML 2023 (arXiv:2211.10438). The columns of an
activation are divided by max|x|^α / max|w|^(1 - α), folded into what makes it. The paper takes
one α for the model; here each activation gets the α of a grid with the least error expected in
the outputs of the MatMuls that read it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ALPHAS = np.linspace(0, 1, 21)
_MIN = 1e-5
_STEPS = 255  # of an 8-bit activation
_MAX_CODE = 127  # of an 8-bit weight
Factors = NDArray[np.float32]


@dataclass(frozen=True)
class Activation:
    """Minimum, maximum and mean square of the columns of an activation, each [K]."""

    minimum: NDArray[np.float32]
    maximum: NDArray[np.float32]
    square: NDArray[np.float32]

    def divided(self, factors: Factors) -> "Activation":
        """Of the activation whose columns are divided by factors [K] above zero."""
        return Activation(self.minimum / factors, self.maximum / factors, self.square / factors**2)


def best_factors(
    weight: NDArray[np.float32], activation: Activation, shared: Callable[[Factors], Factors]
) -> Factors:
    """The factors [K] with the least error expected in the outputs of a weight [K, N].

    `shared` makes factors equal where columns of the activation are copies of one.
    """
    peak = np.maximum(-activation.minimum, activation.maximum).clip(_MIN)
    heaviest = np.abs(weight).max(1).clip(_MIN)
    candidates = [np.ones_like(peak)]
    for alpha in _ALPHAS.tolist():
        factors = peak**alpha / heaviest ** (1 - alpha)
        candidates.append(shared(factors / np.exp(np.log(factors).mean())))
    return min(
        (one.astype(np.float32) for one in candidates),
        key=lambda one: expected_error(weight * one[:, None], activation.divided(one)),
    )


def expected_error(weight: NDArray[np.float32], activation: Activation) -> float:
    """Mean squared error of a row of X W, summed over its columns, when X has one scale for all
    and each column of W [K, N] its own; rounding errors are taken as uniform and independent."""
    top, bottom = float(activation.maximum.max()), float(activation.minimum.min())
    step = (max(top, 0) - min(bottom, 0)) / _STEPS
    own = np.abs(weight).max(0) / _MAX_CODE
    of_activation = step**2 / 12 * float(np.square(weight, dtype=np.float64).sum())
    of_weight = float(np.square(own, dtype=np.float64).sum()) / 12 * float(activation.square.sum())
    return of_activation + of_weight
