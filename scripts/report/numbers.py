"""Numbers as people read them: as many digits as tell something."""

from scripts.evaluation.result import Estimate

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


def divergence_with_error(estimate: Estimate) -> str:
    """Such as `0.0052 ± 0.0001`, which no line break divides."""
    value = divergence(estimate.value)
    return value if value == "≈ 0" else with_error(value, estimate.se)


def with_error(value: str, error: float) -> str:
    """`value` and its error with the same places; an error that rounds to nothing is left out."""
    text = f"{error:.{len(value.partition('.')[2])}f}"
    return f"{value}{_JOIN}±{_JOIN}{text}" if float(text) else value


def percent(share: float, places: int = 1) -> str:
    """`share` of 1 in per cent; what is not all of it never reads 100 %."""
    text = f"{100 * share:.{places}f}"
    if share < 1 and float(text) >= 100:
        text = f"{100 - 10**-places:.{places}f}"
    return f"{text}{_JOIN}%"


def percent_with_error(estimate: Estimate) -> str:
    """Such as `94.7 ± 0.3 %`."""
    figure, sign = percent(estimate.value).split(_JOIN)
    return with_error(figure, 100 * estimate.se) + _JOIN + sign


def ratio(value: float) -> str:
    """Such as `2.3×`; no places from ten on."""
    return f"{value:.0f}×" if value >= 10 else f"{value:.1f}×"


def limit_text(budget: str, value: float) -> str:
    """A budget's limit, or the figure that it was held against, in the budget's unit."""
    if budget in ("max_bytes", "max_rss"):
        return f"{value / 1e6:,.2f}{_JOIN}MB"
    if budget == "min_top1":
        return percent(value)
    if budget == "max_kld":
        return divergence(value)
    return f"{value:.3f}×"
