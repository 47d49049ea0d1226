"""The fixed grid with learnt scales against plain PyTorch, forwards and backwards."""

import torch
from torch.nn import functional

from scripts.tuning.block_linear import BlockLinear, Part, Scaled, as_half


def layer(parts: int = 1) -> BlockLinear:
    """Twelve outputs, four blocks of two groups of eight inputs; the second part is an offset."""
    generator = torch.Generator().manual_seed(0)

    def part(columns: int) -> Part:
        levels = torch.randint(-8, 8, (12, 4, 2, columns), generator=generator, dtype=torch.int16)
        return Part(levels, torch.rand(12, 4, generator=generator).double())

    made = BlockLinear([part(8), part(1)][:parts], torch.rand(12, generator=generator).double())
    with torch.no_grad():
        for change in made.changes:
            change.copy_(torch.randn(12, 4, generator=generator) / 10)
    return made


def weight(one: BlockLinear, changes: list[torch.Tensor]) -> torch.Tensor:
    """As its docstring has it."""
    terms = (
        (part.levels * (part.scales * (1 + change))[..., None, None]).expand(12, 4, 2, 8)
        for part, change in zip(one.parts, changes, strict=True)
    )
    return sum(terms).reshape(12, 64)


def test_output_and_gradients_are_pytorchs() -> None:
    for parts in (1, 2):
        one = layer(parts)
        x = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(1)).double()
        ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
        changes = [change.detach().clone().requires_grad_() for change in one.changes]
        expected = functional.linear(theirs, weight(one, changes), one.bias)
        found = one(ours)
        assert torch.allclose(found, expected)
        grad = torch.randn_like(found)
        found.backward(grad)
        expected.backward(grad)
        assert torch.allclose(ours.grad, theirs.grad)
        for mine, change in zip(one.changes, changes, strict=True):
            assert torch.allclose(mine.grad, change.grad)


def test_only_the_changes_are_learnt() -> None:
    assert [name for name, _ in layer(2).named_parameters()] == ["changes.0", "changes.1"]


def test_what_the_file_can_hold_is_computed_with() -> None:
    part = Part(torch.ones(1, 1, 1, 2, dtype=torch.int16), torch.tensor([[1.0001]]), as_half)
    one = BlockLinear([part], None)
    assert one.tuned()[0].item() == 1.0
    assert one(torch.ones(1, 2)).item() == 2.0
    one(torch.ones(1, 2)).backward()
    assert one.changes[0].grad.item() != 0  # as if nothing were rounded


def test_norm_is_scaled() -> None:
    weight, change = torch.tensor([2.0, -3.0]), torch.tensor([0.5, 0.0])
    assert torch.equal(Scaled(weight)(change), torch.tensor([3.0, -3.0]))
    assert torch.equal(Scaled(weight, shift=1.0)(change), torch.tensor([3.5, -3.0]))
    assert Scaled(weight * 1.0001, store=as_half)(change)[0] == torch.tensor(3.0).half()
