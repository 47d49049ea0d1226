"""A model that does not go through its layers in turn is refused, with what it does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.calibration.decoder import Decoder
from scripts.calibration.stand_ins import UnknownLayers

Forward = Callable[..., Any]


def _fails(_: Any) -> Forward:
    def forward(*_: object, **__: object) -> None:
        raise ValueError("no such mask")

    return forward


def _skips(_: Any) -> Forward:
    return lambda *_, **__: None


def _turns_back(model: Any) -> Forward:
    def forward(*_: object, **__: object) -> None:
        for layer in reversed(model.model.layers):
            layer(torch.zeros(1, 4, 128))

    return forward


def _leaves_one_out(model: Any) -> Forward:
    def forward(*_: object, **__: object) -> None:
        for layer in [*model.model.layers][::2]:
            layer(torch.zeros(1, 4, 128))

    return forward


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (_fails, r"run layer by layer, ends with ValueError: no such mask\. Methods that are"),
        (_skips, r"goes through layers \[\] of 3"),
        (_turns_back, r"goes through layers \[2\] of 3"),
        (_leaves_one_out, r"goes through layers \[0, 2\] of 3"),
    ],
)
def test_what_it_does_instead_is_told(
    tiny_base: Path, wrong: Callable[[Any], Forward], text: str
) -> None:
    decoder = Decoder(tiny_base)
    decoder._model.forward = wrong(decoder._model)
    with pytest.raises(UnknownLayers, match=text):
        decoder.begin(torch.arange(4)[None])
