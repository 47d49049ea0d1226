"""The fixed grid with learnt scales against plain PyTorch, forwards and backwards."""

import torch
from torch.nn import functional

from scripts.backends.onnx.tuning.block_linear import BlockLinear, Scaled


def layer() -> BlockLinear:
    """Twelve outputs, four blocks of eight inputs."""
    generator = torch.Generator().manual_seed(0)
    levels = torch.randint(-8, 8, (12, 4, 8), generator=generator, dtype=torch.int16)
    scales = torch.rand(12, 4, generator=generator).double()
    made = BlockLinear(levels, scales, torch.rand(12, generator=generator).double())
    with torch.no_grad():
        made.change.copy_(torch.randn(12, 4, generator=generator) / 10)
    return made


def test_output_and_gradients_are_pytorchs() -> None:
    one = layer()
    x = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(1)).double()
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    change = one.change.detach().clone().requires_grad_()
    weight = (one.levels * (one.scales * (1 + change))[..., None]).flatten(1)
    expected = functional.linear(theirs, weight, one.bias)
    found = one(ours)
    assert torch.allclose(found, expected)
    grad = torch.randn_like(found)
    found.backward(grad)
    expected.backward(grad)
    assert torch.allclose(ours.grad, theirs.grad)
    assert torch.allclose(one.change.grad, change.grad)


def test_only_the_change_is_learnt() -> None:
    assert [name for name, _ in layer().named_parameters()] == ["change"]


def test_norm_is_scaled() -> None:
    weight = torch.tensor([2.0, -3.0])
    assert torch.equal(Scaled(weight)(torch.tensor([0.5, 0.0])), torch.tensor([3.0, -3.0]))
