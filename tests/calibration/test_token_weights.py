"""A token with large inputs does not drown the others, and no size is lost."""

import torch

from scripts.calibration.token_weights import weighed

GENERATOR = torch.Generator().manual_seed(0)


def rows() -> torch.Tensor:
    """Forty ordinary tokens, and one whose inputs are a hundred times as large."""
    ordinary = torch.randn(40, 16, generator=GENERATOR)
    return torch.cat([torch.eye(1, 16) * 400, ordinary])


def test_trace_stays() -> None:
    x = rows()
    assert torch.isclose(weighed(x).square().sum(), x.square().sum(), rtol=1e-5)


def test_token_with_large_inputs_is_about_half() -> None:
    x = rows()
    assert x[0].square().sum() / x.square().sum() > 0.99
    even = weighed(x)
    assert 0.45 < even[0].square().sum() / even.square().sum() < 0.55


def test_tokens_of_one_length_stay() -> None:
    x = torch.nn.functional.normalize(torch.randn(9, 16, generator=GENERATOR))
    assert torch.allclose(weighed(x), x)


def test_token_without_inputs_is_no_fault() -> None:
    x = torch.cat([torch.zeros(1, 4), torch.ones(3, 4)])
    assert torch.isfinite(weighed(x)).all()
    assert not weighed(x)[0].any()
    assert not weighed(torch.zeros(3, 4)).any()
    assert weighed(torch.ones(0, 4)).shape == (0, 4)


def test_broken_input_stays_broken() -> None:
    assert not torch.isfinite(weighed(torch.tensor([[1.0, torch.inf], [1.0, 2.0]]))).all()
