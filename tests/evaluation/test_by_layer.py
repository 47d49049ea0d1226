"""The base scored and asked layer by layer: what it says as a whole."""

from pathlib import Path

import numpy as np
import pytest

from scripts.backends.torch_model import TorchModel
from scripts.calibration.stand_ins import UnknownLayers
from scripts.evaluation.reference import Reference
from scripts.evaluation.score import Candidate, measure
from scripts.exec import run_stage
from tests.families import make_family
from tests.onnx_models import digests

STAGE = Reference(lines=(0, 100), windows=4, context=128, prompts=("the cat", "a heron"))


@pytest.fixture(scope="module")
def reference(tiny_base: Path, tiny_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The yardstick on four windows of 128 tokens."""
    folder = tmp_path_factory.mktemp("reference")
    run_stage(STAGE, {"base": tiny_base, "text": tiny_text}, folder)
    return folder


def test_large_base_is_evaluated_by_layer_with_the_same_answers(
    tiny_base: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = Candidate("base", "pytorch", tiny_base, tiny_base, reference)
    at_once = measure(candidate)
    monkeypatch.setattr("scripts.evaluation.score.MOST_VALUES_AT_ONCE", 0)
    monkeypatch.setattr(TorchModel, "_whole", None)
    assert measure(candidate) == at_once


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3", "lfm2", "gpt-oss"])
def test_model_that_is_read_by_layer_gives_the_same_logits(family: str, tmp_path: Path) -> None:
    base = make_family(family, tmp_path / "base")
    tokens = np.arange(3, 43)
    whole, lean = (TorchModel(base, 1, 64, lean=lean) for lean in (False, True))
    assert np.array_equal(lean.scores(tokens, 20), whole.scores(tokens, 20))
    assert np.array_equal(lean.prefill(tokens), whole.prefill(tokens))
    for token in (7, 8):
        assert np.array_equal(lean.decode(token), whole.decode(token))


def test_reference_of_a_model_without_known_layers_is_the_same(
    tiny_base: Path,
    tiny_text: Path,
    reference: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def none(_: object) -> None:
        raise UnknownLayers("two stacks")

    monkeypatch.setattr("scripts.calibration.decoder.stack_of", none)
    run_stage(STAGE, {"base": tiny_base, "text": tiny_text}, tmp_path / "out")
    assert digests(tmp_path / "out") == digests(reference)
    assert "the whole model is held in memory: two stacks" in capsys.readouterr().out
    assert TorchModel(tiny_base, 1, 64, lean=True).decode(3).shape == (512,)


def test_reference_in_pieces_of_the_vocabulary_is_the_same(
    tiny_base: Path,
    tiny_text: Path,
    reference: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scripts.evaluation.by_layer._LOGITS_BYTES", 20 * 4 * 512)
    run_stage(STAGE, {"base": tiny_base, "text": tiny_text}, tmp_path / "out")
    found, wanted = (np.load(one / "logprobs.npy") for one in (tmp_path / "out", reference))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
