"""How much each token counts in a Hessian.

A few tokens, such as the first of a text, have inputs that are many times as large as all others
(Sun et al., Massive Activations in Large Language Models, 2024, arXiv:2402.17762). Where all count
by the squares of their inputs, a Hessian knows little else, and what the model predicts depends on
them no more than on others. That tokens should not count alike: Sung et al., RSQ, 2025,
arXiv:2503.01820, who weigh them by attention.
"""

import math

import numpy as np
import torch

from scripts.arithmetic.products import product

_TINY = 1e-30


def weighed(rows: torch.Tensor) -> torch.Tensor:
    """X [n, columns] with each row times the root of its weight: half of the weight is 1, the other
    half the mean of the rows' ‖x‖² over the row's own. The trace of XᵀX stays."""
    if rows.device.type != "cpu":
        lengths = rows.square().sum(1, keepdim=True)
        return rows * _weights(lengths, lengths.mean()).sqrt()
    ones = np.ones((rows.shape[1], 1), np.float32)
    lengths = torch.from_numpy(product(np.square(rows.numpy()), ones))
    mean = math.fsum(lengths.flatten().tolist()) / max(1, len(lengths))
    return rows * _weights(lengths, torch.tensor(mean)).sqrt()


def _weights(lengths: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    return (1 + mean / lengths.where(lengths > 0, mean.clamp(min=_TINY))) / 2
