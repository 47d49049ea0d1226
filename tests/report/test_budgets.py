"""Each budget against the figure that it limits."""

import pytest
from pydantic import ValidationError

from scripts.evaluation.budget import Break, Budget
from scripts.report.join import breaks
from scripts.report.lineup import Lineup
from tests.report.factory import evaluation

BASE = evaluation("base", "pytorch", kld=0, megabytes=200, decode=10, prefill=100)
OWN = evaluation("graph", kld=0, megabytes=400, decode=20, prefill=200)
ROW = evaluation("model-int8", kld=0.01, megabytes=100, decode=60, prefill=500)


def broken(budget: Budget) -> list[Break]:
    """What the row breaks of it."""
    return list(breaks(Lineup((BASE, OWN), (ROW,)), {ROW.artifact: budget}))


@pytest.mark.parametrize(
    ("name", "kept", "limit", "value"),
    [
        ("max_kld", 0.01, 0.0099, 0.01),
        ("min_top1", 0.93, 0.94, 0.93),
        ("max_perplexity_ratio", 1.01, 1.007, 1.008),
        ("max_bytes", "100MB", "99MB", 100e6),
        ("max_size_ratio", 0.5, 0.49, 0.5),
        ("min_prefill_speedup", 2.5, 2.6, 2.5),
        ("min_decode_speedup", 3, 3.1, 3.0),
        ("max_rss", "300MB", "299MB", 300e6),
    ],
)
def test_limits(name: str, kept: object, limit: object, value: float) -> None:
    assert broken(Budget.model_validate({name: kept})) == []
    (one,) = broken(Budget.model_validate({name: limit}))
    assert (one.artifact, one.budget) == ("model-int8", name)
    assert one.value == pytest.approx(value)


def test_several_limits_break_apart() -> None:
    budget = Budget(max_kld=0.001, max_size_ratio=0.1, min_top1=0.5)
    assert [one.budget for one in broken(budget)] == ["max_kld", "max_size_ratio"]


@pytest.mark.parametrize("bad", [{}, {"max_kld": 0}, {"min_top1": 1.5}, {"max_klt": 1}])
def test_what_is_no_budget(bad: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Budget.model_validate(bad)
