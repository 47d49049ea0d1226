"""The choice from the numbers, and the words that go with it."""

import pytest

from scripts.report.advice import advice, by_runtime, headline, picks, warnings
from scripts.report.verdicts import is_usable, verdict
from scripts.report.yardsticks import EMBEDDINGS, PREDICTIONS, Yardstick
from tests.report.factory import evaluation, lineup, usual


@pytest.mark.parametrize(
    ("kld", "word"),
    [
        (-1e-10, "indistinguishable in practice"),
        (0.0099, "indistinguishable in practice"),
        (0.01, "close"),
        (0.05, "noticeable"),
        (0.2, "poor"),
        (0.5, "broken"),
        (float("inf"), "broken"),
        (float("nan"), "broken"),
    ],
)
def test_verdict(kld: float, word: str) -> None:
    assert verdict(evaluation("a", kld=kld, error=0)) == word


@pytest.mark.parametrize("yardstick", [PREDICTIONS, EMBEDDINGS], ids=lambda one: one.column)
def test_verdicts_rise_to_infinity(yardstick: Yardstick) -> None:
    limits = [one.limit for one in yardstick.verdicts]
    assert limits == sorted(set(limits))
    assert limits[-1] == float("inf")


def test_usual_picks() -> None:
    assert [(pick.purpose, pick.name) for pick in picks(usual())] == [
        ("Closest to FP16", "model-q8_0.gguf"),
        ("Smallest that stays usable", "model-q4_k_m.gguf"),
        ("Fastest answers (decode)", "model-q8_0.gguf"),
        ("Fastest reading of long prompts (prefill)", "model-q8_0.gguf"),
    ]
    assert [pick.name for pick in by_runtime(usual())] == [
        "model-int4",
        "model-int8",
        "model-q8_0.gguf",
    ]
    assert headline(usual()).name == "model-q8_0.gguf"


def test_reasons_are_figures() -> None:
    closest, smallest, decode, _ = (pick.reason for pick in picks(usual()))
    assert "KL divergence 0.0042 (indistinguishable in practice)" in closest
    assert "105 MB, 39\u00a0% of FP16" in smallest
    assert "whatever is smaller is poor" in smallest
    assert decode.startswith("146 tokens/s, 9.1× Label of base and 1.3× Label of f16.gguf")


def test_speeds_too_near_to_call_go_to_the_closer_one() -> None:
    near = lineup(
        evaluation("fast", kld=0.15, decode=102), evaluation("close", kld=0.004, decode=100)
    )
    far = lineup(
        evaluation("fast", kld=0.15, decode=112), evaluation("close", kld=0.004, decode=100)
    )
    assert picks(near)[2].name == "close"
    assert picks(far)[2].name == "fast"


def test_distances_too_near_to_call_go_to_the_smaller_one() -> None:
    rows = lineup(
        evaluation("large", kld=0.0050, error=0.0002, megabytes=157),
        evaluation("small", kld=0.0051, error=0.0002, megabytes=145),
    )
    closest = picks(rows)[0]
    assert closest.name == "small"
    assert "`large` can't be told from it by this measurement, but is no smaller" in closest.reason


def test_clear_distance_beats_size() -> None:
    rows = lineup(
        evaluation("large", kld=0.0050, error=0.00001, megabytes=157),
        evaluation("small", kld=0.0051, error=0.00001, megabytes=145),
    )
    assert picks(rows)[0].name == "large"


def test_equal_artefacts_go_in_the_order_of_the_recipe() -> None:
    rows = lineup(evaluation("first"), evaluation("second"))
    assert {pick.name for pick in [headline(rows), *picks(rows), *by_runtime(rows)]} == {"first"}
    assert warnings(rows) == []


def test_one_artefact_is_taken_for_everything() -> None:
    rows = lineup(evaluation("only", "gguf"))
    assert {pick.name for pick in [headline(rows), *picks(rows), *by_runtime(rows)]} == {"only"}


def test_none_good() -> None:
    rows = lineup(evaluation("bad", kld=0.7), evaluation("worse", "bitsandbytes", kld=3))
    assert headline(rows).purpose == "None is near FP16; the nearest"
    closest, *rest = picks(rows)
    assert closest.name == "bad"
    assert "(broken)" in closest.reason
    for pick in rest:
        assert pick.name is None
        assert pick.reason == "no artefact is near enough to FP16 (KL divergence below 0.2)"
    assert all("prefer another runtime" in pick.reason for pick in by_runtime(rows))


def test_poor_and_broken_are_warned_of() -> None:
    rows = lineup(evaluation("weak", kld=0.3), evaluation("wreck", kld=1.1))
    assert [is_usable(row) for row in rows.artifacts] == [False, False]
    weak, wreck = warnings(rows)[:2]
    assert weak == (
        "`weak` is **poor**: KL divergence 0.300, perplexity 1.24 times that of FP16, FP16's most "
        "likely next token in only 62\u00a0% of cases; test it before you ship it."
    )
    assert "`wreck` is **broken**: KL divergence 1.100" in wreck
    assert wreck.endswith("do not ship it.")


def test_slower_than_the_base_is_warned_of() -> None:
    rows = lineup(evaluation("slow", decode=8, prefill=100))
    assert warnings(rows) == [
        "`slow` answers **more slowly than FP16** here: 8.0 tokens/s against 16.0; it "
        "saves space only."
    ]
    assert "itself is as fast, so take it for its size only" in picks(rows)[2].reason


def test_beaten_on_every_count_is_warned_of() -> None:
    rows = lineup(
        evaluation("good", kld=0.01, megabytes=140, decode=120, prefill=900),
        evaluation("beaten", kld=0.06, megabytes=150, decode=90, prefill=800),
    )
    assert warnings(rows) == [
        "`beaten` is **beaten on every count** by `good` of the same runtime, which is no larger: "
        "KL divergence 0.0100 against 0.0600, decode 120 against 90 and prefill 900 against 800 "
        "tokens/s."
    ]


@pytest.mark.parametrize("strength", [{"decode": 130.0}, {"prefill": 950.0}, {"megabytes": 130.0}])
def test_one_strength_is_enough_not_to_be_beaten(strength: dict[str, float]) -> None:
    weak = {"kld": 0.06, "megabytes": 150.0, "decode": 90.0, "prefill": 800.0}
    rows = lineup(
        evaluation("good", kld=0.01, megabytes=140, decode=120, prefill=900),
        evaluation("other", **{**weak, **strength}),
    )
    assert warnings(rows) == []


def test_another_runtime_beats_nobody() -> None:
    rows = lineup(
        evaluation("good", "gguf", kld=0.01, megabytes=140, decode=120, prefill=900),
        evaluation("other", kld=0.06, megabytes=150, decode=90, prefill=800),
    )
    assert warnings(rows) == []


def test_one_artefact_for_two_purposes_is_named_once() -> None:
    cards = dict(advice(usual()).cards)
    assert list(cards) == ["Smallest that stays usable", "Fastest", "Closest to FP16"]
    (choice,) = cards["Fastest"]
    assert choice.badge is not None
    assert choice.badge.name == "model-q8_0.gguf"
    assert len(choice.picks) == 2


def test_cards_say_what_an_artefact_is_like() -> None:
    badge = advice(usual()).first.badge
    assert badge is not None
    assert badge.word == "indistinguishable in practice"
    assert dict(badge.figures) == {
        "size": "145.0\u00a0MB",
        "KLD": "0.0042",
        "prefill": "779\u00a0t/s",
        "decode": "146\u00a0t/s",
        "runs with": "llama.cpp (CPU, and what is built on it)",
    }
