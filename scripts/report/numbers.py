"""Numbers as people read them: as many digits as tell something."""

from collections.abc import Callable

from scripts.evaluation.result import Estimate, Spread

Show = Callable[[float], str]
"""A number as text: its unit, if it has one, follows a space that no line break divides."""

# Below this a divergence is the noise of FP32 arithmetic.
_NOISE = 5e-6
_JOIN = "\u00a0"


def divergence(value: float) -> str:
    """A KL divergence in nats, with three significant digits and at most five places."""
    if abs(value) < _NOISE:
        return "≈ 0"
    for limit, places in ((0.001, 5), (0.1, 4), (10, 3)):
        if abs(value) < limit:
            return f"{value:.{places}f}"
    return f"{value:.1f}"


def percent(share: float, places: int = 1) -> str:
    """`share` of 1 in per cent; what is not all of it never reads 100 %."""
    text = f"{100 * share:.{places}f}"
    if share < 1 and float(text) >= 100:
        text = f"{100 - 10**-places:.{places}f}"
    return f"{text}{_JOIN}%"


def whole_percent(share: float) -> str:
    """As `percent`, without places."""
    return percent(share, 0)


def places(count: int) -> Show:
    """Numbers with so many places."""
    return lambda value: f"{value:,.{count}f}"


def rate(value: float) -> str:
    """Tokens per second: no places from 100 on."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def ratio(value: float) -> str:
    """Such as `2.3×`; no places from ten on."""
    return f"{value:.0f}×" if value >= 10 else f"{value:.1f}×"


def megabytes(places: int) -> Show:
    """Bytes in 10^6 of them, with so many places."""
    return lambda count: f"{count / 1e6:,.{places}f}"


def with_error(show: Show, estimate: Estimate) -> str:
    """Such as `0.0052 ± 0.0001` or `94.7 ± 0.3 %`, which no line break divides.

    The error has the places of its value; one that rounds to nothing is left out.
    """
    number, _, unit = show(estimate.value).partition(_JOIN)
    error = (100 if unit == "%" else 1) * estimate.se
    text = f"{error:.{len(number.partition('.')[2])}f}"
    parts = [number, *(["±", text] if float(text) and number != "≈ 0" else []), unit]
    return _JOIN.join(filter(None, parts))


def with_spread(show: Show, spread: Spread) -> str:
    """The median with the minimum and maximum of the repeats, and how many these were."""
    low, high = show(spread.min), show(spread.max)
    return f"{show(spread.median)} ({low} to {high}, {spread.repeats}×)"
