"""How near embeddings are to the base's, by hand and beside scipy."""

import numpy as np
import pytest

from scripts.backends.encoder import padded, pooled
from scripts.base.encoder_config import Pooling
from scripts.errors import QuantmakeError
from scripts.evaluation.embeddings import embedding_quality, similarities, spearman
from scripts.evaluation.result import Speed, Spread, Timings
from scripts.sentences import sentences_in, spread_out


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_figures_by_hand() -> None:
    base = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    other = np.array([[0.6, 0.8], [0, 1], [0.6, 0.8]], np.float32)
    quality = embedding_quality(base, other)
    assert quality.sentences == 3
    assert quality.cosine.value == pytest.approx(2.6 / 3)
    assert quality.cosine.se == pytest.approx(np.std([0.6, 1, 1], ddof=1) / np.sqrt(3))
    assert quality.cosine_p01 == pytest.approx(0.6 + 0.02 * 0.4)
    # Similarities 0, 0.6, 0.8 become 0.8, 1, 0.8.
    assert quality.spearman == pytest.approx(0, abs=1e-6)


def test_rank_correlation_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(0)
    one = unit(random.normal(size=(40, 8)))
    two = unit(one + 0.3 * random.normal(size=(40, 8)))
    pairs = [np.round(similarities(some), 1) for some in (one, two)]  # with ties
    assert spearman(*pairs) == pytest.approx(stats.spearmanr(*pairs).statistic)


def test_mean_leaves_padding_out() -> None:
    ids, mask = padded([[5, 6, 7], [8]], 9)
    assert ids.tolist() == [[5, 6, 7], [8, 9, 9]]
    states = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    mean = pooled(states, mask, Pooling(mode="mean", normalise=True, longest=8))
    assert mean.tolist() == [[2, 3], [6, 7]]
    first = pooled(states, mask, Pooling(mode="cls", normalise=True, longest=8))
    assert first.tolist() == [[0, 1], [6, 7]]


def test_sentences_of_lines() -> None:
    lines = ["One sentence is here. Another one follows it!\n", "}\n", "One sentence is here.\n"]
    assert sentences_in(lines) == ["One sentence is here.", "Another one follows it!"]
    assert spread_out(["a", "b", "c", "d"], 2, "it") == ["a", "c"]
    with pytest.raises(QuantmakeError) as caught:
        spread_out(["a"], 2, "the evaluation's text (news)")
    assert str(caught.value) == (
        "the evaluation's text (news) is too short: its lines hold 1 sentences of 20 characters or "
        "more, but 2 are asked for (`sentences`). Take more lines or fewer sentences."
    )


def test_timings_without_tokens_are_read_as_they_were_written() -> None:
    speed = Speed.none(2).model_copy(update={"sentences_per_s": Spread.of([3.0, 4.0])})
    machine = {"cpu": "x", "features": [], "cores": 2, "packages": {}}
    record = Timings.model_validate({"machine": machine, "speeds": {}, "failures": {}})
    written = record.model_copy(update={"speeds": {"a": speed}}).model_dump_json()
    read = Timings.model_validate_json(written).speeds["a"]
    assert read.sentences_per_s == speed.sentences_per_s
    assert np.isnan(read.load_s)
