"""Numbers as people read them."""

import pytest

from scripts.evaluation.result import Estimate, Spread
from scripts.report.numbers import (
    divergence,
    megabytes,
    percent,
    places,
    rate,
    ratio,
    with_error,
    with_spread,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "≈ 0"),
        (-1.2e-9, "≈ 0"),
        (0.000013, "0.00001"),
        (0.00471, "0.0047"),
        (0.0666, "0.0666"),
        (0.3577, "0.358"),
        (2.19, "2.190"),
        (13.2, "13.2"),
    ],
)
def test_divergence(value: float, text: str) -> None:
    assert divergence(value) == text


def test_error_has_the_places_of_its_value() -> None:
    assert with_error(divergence, Estimate(value=0.3577, se=0.00582)) == "0.358\u00a0±\u00a00.006"
    assert with_error(divergence, Estimate(value=0.0047, se=0.00009)) == "0.0047\u00a0±\u00a00.0001"
    assert with_error(divergence, Estimate(value=2e-7, se=1e-8)) == "≈ 0"


def test_percent() -> None:
    assert percent(0.9469) == "94.7\u00a0%"
    assert percent(1) == "100.0\u00a0%"
    assert percent(0.99999) == "99.9\u00a0%"
    assert percent(1.997, 0) == "200\u00a0%"
    assert percent(0.998, 0) == "99\u00a0%"
    assert with_error(percent, Estimate(value=0.947, se=0.0031)) == "94.7\u00a0±\u00a00.3\u00a0%"
    assert with_error(percent, Estimate(value=1, se=0)) == "100.0\u00a0%"


def test_ratio() -> None:
    assert ratio(1.44) == "1.4×"
    assert ratio(12.6) == "13×"


def test_rates_have_places_below_100() -> None:
    assert [rate(value) for value in (2.345, 99.94, 100, 1234.5)] == ["2.3", "99.9", "100", "1,234"]


def test_places_and_megabytes() -> None:
    assert places(2)(1234.567) == "1,234.57"
    assert megabytes(1)(155_040_000) == "155.0"
    assert megabytes(0)(1_216_000_000) == "1,216"


def test_spread_says_how_many_repeats() -> None:
    spread = Spread(median=105, min=99.7, max=108.2, repeats=5)
    assert with_spread(rate, spread) == "105 (99.7 to 108, 5×)"
