"""Stand-ins have what layers have, and the list of decoder layers is found or refused."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from scripts.calibration.stand_ins import Call, StandIn, UnknownLayers, in_place_of, stack_of


class Layer(nn.Module):
    """Adds one; has experts, as many as there are layers."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_type = "sliding_attention"
        self.experts = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])

    def forward(self, hidden_states: torch.Tensor, by: float = 1) -> torch.Tensor:
        return hidden_states + by


class Stacks(nn.Module):
    """A model with lists of two layers."""

    def __init__(self, count: int) -> None:
        super().__init__()
        text = SimpleNamespace(num_hidden_layers=2)
        self.config = SimpleNamespace(get_text_config=lambda: text)
        for at in range(count):
            setattr(self, f"stack{at}", nn.ModuleList([Layer(), Layer()]))


def test_lists_of_experts_are_no_stacks() -> None:
    model = Stacks(1)
    name, layers = stack_of(model)
    assert name == "stack0"
    assert layers is model.stack0


@pytest.mark.parametrize("count", [0, 2])
def test_none_or_several(count: int) -> None:
    text = f"Stacks has {count} stacks of 2 decoder layers where one was expected; methods that"
    with pytest.raises(UnknownLayers, match=text):
        stack_of(Stacks(count))


def test_attributes_are_the_layer_s_and_no_weight_is() -> None:
    stand_in = StandIn(Layer(), lambda call: call.hidden)
    assert stand_in.attention_type == "sliding_attention"
    assert list(stand_in.parameters()) == []
    with pytest.raises(AttributeError, match="nothing"):
        _ = stand_in.nothing


def test_states_by_position_or_by_name() -> None:
    calls: list[Call] = []
    given = torch.zeros(1, 3, 2)

    def answer(_: int, call: Call) -> Any:
        calls.append(call)
        return call.hidden

    model: Any = Stacks(1)
    kept = model.stack0
    with in_place_of(model, "stack0", kept, answer):
        model.stack0[0](given, by=2)
        model.stack0[1](hidden_states=given, by=3)
    assert model.stack0 is kept
    assert all(call.hidden is given for call in calls)
    assert [float(call.run(Layer(), given + 1)[0, 0, 0]) for call in calls] == [3, 4]
