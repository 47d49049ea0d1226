"""Numbers as people read them."""

import pytest

from scripts.evaluation.result import Estimate
from scripts.report.numbers import (
    divergence,
    divergence_with_error,
    percent,
    percent_with_error,
    ratio,
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
    assert divergence_with_error(Estimate(value=0.3577, se=0.00582)) == "0.358\u00a0±\u00a00.006"
    assert divergence_with_error(Estimate(value=0.0047, se=0.00009)) == "0.0047\u00a0±\u00a00.0001"
    assert divergence_with_error(Estimate(value=2e-7, se=1e-8)) == "≈ 0"


def test_percent() -> None:
    assert percent(0.9469) == "94.7\u00a0%"
    assert percent(1) == "100.0\u00a0%"
    assert percent(0.99999) == "99.9\u00a0%"
    assert percent(1.997, 0) == "200\u00a0%"
    assert percent(0.998, 0) == "99\u00a0%"
    assert percent_with_error(Estimate(value=0.947, se=0.0031)) == "94.7\u00a0±\u00a00.3\u00a0%"
    assert percent_with_error(Estimate(value=1, se=0)) == "100.0\u00a0%"


def test_ratio() -> None:
    assert ratio(1.44) == "1.4×"
    assert ratio(12.6) == "13×"
