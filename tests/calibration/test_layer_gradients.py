"""Gradients layer by layer beside those of the whole model: the same bits, in every family."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from scripts.calibration import layer_gradients
from scripts.calibration.decoder import Decoder
from scripts.calibration.gradients import Gradients
from scripts.calibration.layer_gradients import LayerGradients
from scripts.calibration.noted import Terms
from scripts.calibration.stand_ins import UnknownLayers
from scripts.calibration.stored import GRADIENTS
from scripts.calibration.whole_gradients import whole_gradients
from scripts.checkpoint import Checkpoints
from scripts.tensors.kept_states import KeptStates
from scripts.token_windows import read_windows
from scripts.workers import single_core_workers
from tests.calibration.test_capture import Dying
from tests.families import FAMILIES, make_family
from tests.tiny import make_tiny_base

NO_CHECKPOINTS = Checkpoints(None)


def tokens_of(count: int = 3) -> torch.Tensor:
    """Windows [count, 64], longer than the sliding windows."""
    return torch.randint(3, 410, (count, 64), generator=torch.Generator().manual_seed(0))


def whole(base: Path, tokens: torch.Tensor, checkpoints: Checkpoints = NO_CHECKPOINTS) -> Terms:
    with single_core_workers(2) as pool:
        return whole_gradients(base, tokens, checkpoints, pool, 2)


def by_layer(
    base: Path,
    tokens: torch.Tensor,
    scratch: Path,
    checkpoints: Checkpoints = NO_CHECKPOINTS,
    threads: int = 2,
) -> Terms:
    with single_core_workers(threads) as pool, KeptStates(scratch) as states:
        work = (Decoder(base), tokens, states, checkpoints, pool, threads)
        return LayerGradients(*work).sums()


def assert_same(one: Terms, other: Terms) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of as many windows as there are threads, and the head for 20 positions at a time."""
    monkeypatch.setattr(layer_gradients, "STATES_BYTES", 1)
    monkeypatch.setattr(layer_gradients, "_LOGITS_BYTES", 20 * 4 * 410)


@pytest.mark.parametrize("family", sorted({*FAMILIES} - {"gemma4"}))
def test_same_as_the_whole_model(family: str, tmp_path: Path, in_parts: None) -> None:
    base = make_family(family, tmp_path / "base")
    assert_same(by_layer(base, tokens_of(), tmp_path), whole(base, tokens_of()))
    assert [one.name for one in tmp_path.iterdir()] == ["base"]


def test_layers_that_are_each_given_a_part_of_the_embedding(tmp_path: Path) -> None:
    """The whole model is held in memory then: see `Gradients`."""
    base = make_family("gemma4", tmp_path / "base")
    with pytest.raises(UnknownLayers, match="gives the layers more of the embedding"):
        by_layer(base, tokens_of(), tmp_path)
    assert whole(base, tokens_of())


@pytest.mark.parametrize("tied", [True, False])
def test_tied_and_untied_heads_on_one_thread_and_many(
    tied: bool, tmp_path: Path, in_parts: None
) -> None:
    base = make_tiny_base(tmp_path / "base", hidden=64, layers=2, steps=0, tied=tied)
    one = by_layer(base, tokens_of(4), tmp_path, threads=1)
    assert_same(one, by_layer(base, tokens_of(4), tmp_path, threads=3))
    assert_same(one, whole(base, tokens_of(4)))


def test_expert_that_no_token_reaches(tmp_path: Path, in_parts: None) -> None:
    base = make_family("mixtral", tmp_path / "base")
    weights = load_file(base / "model.safetensors")
    for name, weight in weights.items():
        if name.endswith(".gate.weight"):
            weight[:2] *= 100  # one of the two is far ahead of the others, whatever the sign
            weight[2] = -weight[:2].sum(0)
            weight[3] = 0
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    found = by_layer(base, tokens_of(1)[:, :4], tmp_path)
    experts = [name for name in found if ".experts." in name]
    assert 0 < len(experts) < 4 * 4 * 3
    assert_same(found, whole(base, tokens_of(1)[:, :4]))


def test_stage_takes_either_way(
    tiny_gradients: Path,
    tiny_base: Path,
    tiny_calibration: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    inputs = {"base": tiny_base, "calibration": tiny_calibration}
    wanted = (tiny_gradients / GRADIENTS).read_bytes()
    monkeypatch.setattr("scripts.calibration.gradients.MOST_VALUES_AT_ONCE", 0)
    Gradients().run(inputs, tmp_path)
    assert (tmp_path / GRADIENTS).read_bytes() == wanted
    assert len(list(tmp_path.iterdir())) == 1

    def none(_: object) -> None:
        raise UnknownLayers("two stacks")

    monkeypatch.setattr("scripts.calibration.decoder.stack_of", none)
    Gradients().run(inputs, tmp_path)
    assert (tmp_path / GRADIENTS).read_bytes() == wanted
    assert capsys.readouterr().out == "the whole model is held in memory: two stacks\n"


@pytest.mark.parametrize("files", [1, 2, 3, 5, 9, 13, 17, 24])
def test_interrupted_layers_end_with_the_same_bytes(
    files: int, tiny_base: Path, tiny_calibration: Path, tmp_path: Path, in_parts: None
) -> None:
    tokens = torch.from_numpy(read_windows(tiny_calibration)[:5, :32])
    (tmp_path / "kept").mkdir()
    with pytest.raises(KeyboardInterrupt):
        by_layer(tiny_base, tokens, tmp_path, Dying(tmp_path / "kept", files))
    # On another number of threads, which takes other windows together.
    counted = Counted(tmp_path / "kept")
    resumed = by_layer(tiny_base, tokens, tmp_path, counted, threads=1)
    assert_same(resumed, by_layer(tiny_base, tokens, tmp_path))


class Counted(Checkpoints):
    """Keeps every step and counts what it saves."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, seconds_between=0)
        self.saved: list[str] = []

    def save(self, name: str, tensors: Mapping[str, torch.Tensor]) -> None:
        super().save(name, tensors)
        self.saved.append(name)


def test_steps_that_are_done_are_not_done_again(
    tiny_base: Path, tiny_calibration: Path, tmp_path: Path
) -> None:
    tokens = torch.from_numpy(read_windows(tiny_calibration)[:2, :32])
    every = Counted(tmp_path / "every")
    by_layer(tiny_base, tokens, tmp_path, every)
    # Three layers, the head, two layers back: the last step has no record.
    assert every.saved.count("record") == 1 + 6
    halted = Dying(tmp_path / "halted", len(every.saved) - 1)
    with pytest.raises(KeyboardInterrupt):
        by_layer(tiny_base, tokens, tmp_path, halted)
    rest = Counted(tmp_path / "halted")
    by_layer(tiny_base, tokens, tmp_path, rest)
    assert rest.saved == ["record"]


@pytest.mark.parametrize("files", [1, 3])
def test_interrupted_whole_model_ends_with_the_same_bytes(
    files: int, tiny_base: Path, tiny_calibration: Path, tmp_path: Path
) -> None:
    tokens = torch.from_numpy(read_windows(tiny_calibration)[:6, :32])
    (tmp_path / "kept").mkdir()
    with pytest.raises(KeyboardInterrupt):
        whole(tiny_base, tokens, Dying(tmp_path / "kept", files))
    assert_same(whole(tiny_base, tokens, Checkpoints(tmp_path / "kept")), whole(tiny_base, tokens))


def test_embedding_that_reaches_the_layers_by_another_way_is_refused(tiny_base: Path) -> None:
    decoder = Decoder(tiny_base)
    inner: Any = decoder._model.model
    plain = inner.rotary_emb.forward
    # As in models whose layers are each given a part of the embedding.
    inner.rotary_emb.forward = lambda states, position_ids: tuple(
        one + 0 * states.sum() for one in plain(states, position_ids)
    )
    tokens = torch.arange(4)[None]
    embedded = decoder.embed(tokens)
    decoder.begin(tokens, embedded)
    text = "gives the layers more of the embedding than their hidden states"
    with pytest.raises(UnknownLayers, match=text):
        decoder.begin(tokens, embedded.requires_grad_(True))
