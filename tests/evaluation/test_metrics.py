"""The metrics against their definitions in float64."""

import math

import numpy as np
import pytest
import torch

from scripts.evaluation.metrics import Comparison

TOKENS, VOCABULARY = 40, 23


@pytest.fixture(scope="module")
def logits() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits of a base and of something near it, [2, tokens, vocabulary], and what followed."""
    generator = torch.Generator().manual_seed(0)
    base = 3 * torch.randn(2, TOKENS, VOCABULARY, generator=generator)
    other = base + 0.3 * torch.randn(base.shape, generator=generator)
    return base, other, torch.randint(0, VOCABULARY, (2, TOKENS), generator=generator)


def test_worst_flips_come_first_and_name_their_place(
    logits: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    base, other, observed = logits
    comparison = Comparison()
    for window in range(2):
        comparison.add(torch.log_softmax(base[window], -1), other[window], observed[window])
    p, q = torch.log_softmax(base, -1), torch.log_softmax(other, -1)
    kld = (p.exp() * (p - q)).sum(-1)
    flips = [
        (float(kld[place]), place)
        for place in map(tuple, (p.argmax(-1) != q.argmax(-1)).nonzero().tolist())
    ]
    wanted = sorted(flips, reverse=True)[:10]
    found = comparison.worst_flips()
    assert [(one.window, one.position) for one in found] == [place for _, place in wanted]
    for one in found:
        place = one.window, one.position
        assert (one.expected, one.got) == (int(p[place].argmax()), int(q[place].argmax()))
        assert one.expected_p == pytest.approx(float(p[place].max().exp()), rel=1e-5)
        assert one.got_p == pytest.approx(float(q[place].max().exp()), rel=1e-5)
        assert one.kld == pytest.approx(float(kld[place]), rel=1e-4)


def test_definitions(logits: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    base, other, observed = logits
    comparison = Comparison()
    for window in range(2):
        comparison.add(torch.log_softmax(base[window], -1), other[window], observed[window])
    found = comparison.quality()

    p = torch.softmax(base.double(), -1).numpy().reshape(-1, VOCABULARY)
    q = torch.softmax(other.double(), -1).numpy().reshape(-1, VOCABULARY)
    kld = (p * np.log(p / q)).sum(-1)
    at = np.arange(2 * TOKENS), observed.numpy().ravel()
    n = 2 * TOKENS
    assert found.tokens_scored == n
    assert found.kld_mean.value == pytest.approx(kld.mean(), rel=1e-5)
    assert found.kld_mean.se == pytest.approx(kld.std(ddof=1) / math.sqrt(n), rel=1e-5)
    assert found.kld_p99 == pytest.approx(np.quantile(kld, 0.99), rel=1e-5)
    assert found.kld_p999 == pytest.approx(np.quantile(kld, 0.999), rel=1e-5)
    surprise = -np.log(q[at])
    perplexity = math.exp(surprise.mean())
    assert found.perplexity.value == pytest.approx(perplexity, rel=1e-5)
    error = perplexity * surprise.std(ddof=1) / math.sqrt(n)
    assert found.perplexity.se == pytest.approx(error, rel=1e-5)
    paired = surprise + np.log(p[at])
    assert found.perplexity_ratio.value == pytest.approx(math.exp(paired.mean()), rel=1e-5)
    error = math.exp(paired.mean()) * paired.std(ddof=1) / math.sqrt(n)
    assert found.perplexity_ratio.se == pytest.approx(error, rel=1e-5)
    agrees = p.argmax(-1) == q.argmax(-1)
    assert found.top1_agreement.value == pytest.approx(agrees.mean())
    assert found.rms_delta_p == pytest.approx(math.sqrt(((q[at] - p[at]) ** 2).mean()), rel=1e-5)


def test_the_base_beside_itself_is_no_distance_away(
    logits: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
) -> None:
    base, _, observed = logits
    comparison = Comparison()
    comparison.add(torch.log_softmax(base[0], -1), base[0], observed[0])
    found = comparison.quality()
    assert found.kld_mean.value == pytest.approx(0, abs=1e-6)
    assert found.top1_agreement.value == 1
    assert found.perplexity_ratio.value == pytest.approx(1, abs=1e-6)
