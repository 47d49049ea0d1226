"""A model that does not go through its layers in turn is refused, with what it does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from scripts.calibration.decoder import Decoder
from scripts.calibration.stand_ins import UnknownLayers
from tests.families import make_family
from tests.tiny import make_tiny_base

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


@pytest.mark.parametrize("tied", [True, False])
def test_only_what_is_needed_is_in_memory(tied: bool, tmp_path: Path) -> None:
    base = make_tiny_base(tmp_path / "base", hidden=64, layers=2, steps=0, tied=tied)
    decoder, tokens = Decoder(base), torch.arange(4)[None]

    def loaded() -> set[str]:
        """Parts with weights that are there, norms outside of the layers aside."""
        named = decoder._model.named_parameters(remove_duplicate=False)
        names = {name.removesuffix(".weight") for name, one in named if not one.is_meta}
        return {"layers" if ".layers." in name else name for name in names} - {"model.norm"}

    both = {"model.embed_tokens", "lm_head"}
    assert loaded() == set()
    decoder.embed(tokens)
    assert loaded() == (both if tied else {"model.embed_tokens"})
    hidden, call = decoder.begin(tokens)
    decoder.unload_ends()
    assert loaded() == set()
    decoder.load(1)
    call(1, hidden)
    assert loaded() == {"layers"}
    decoder.unload(1)
    with decoder.ends() as predict:
        assert predict(tokens, hidden, 2).shape == (1, 2, 512)
    assert loaded() == (both if tied else {"lm_head"})


def test_buffers_that_files_hold_are_read(tmp_path: Path) -> None:
    base = make_family("deepseek-v3", tmp_path / "base")
    name = "model.layers.1.mlp.gate.e_score_correction_bias"
    weights = load_file(base / "model.safetensors")
    weights[name] = torch.arange(4).to(weights[name].dtype)
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    decoder = Decoder(base)
    decoder.load(1)
    assert decoder.layers[1].mlp.gate.e_score_correction_bias.tolist() == [0, 1, 2, 3]
    decoder.unload(1)
    tokens = torch.arange(3, 13)[None]
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    with torch.inference_mode():
        wanted = model(tokens).logits[0, [4, 9]]
        torch.testing.assert_close(Decoder(base).logits(tokens, [4, 9]), wanted)
