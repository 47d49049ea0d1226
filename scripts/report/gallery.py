"""All charts of a report: to add one is to add an entry here."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from scripts.report.charts import STYLE, Look, divergences, size_quality, speeds
from scripts.report.lineup import Lineup
from scripts.report.sensitivity import has_sensitivity, sensitivities

# Neither a date nor a version may stand in the file.
METADATA: Any = {"Date": None, "Creator": None}


@dataclass(frozen=True)
class Chart:
    """What a chart shows, in words; how it is drawn; whether a line-up has it."""

    words: str
    draw: Callable[[Lineup, Look], Figure]
    is_there: Callable[[Lineup], bool] = lambda _: True


CHARTS = {
    "size-quality.svg": Chart(
        "Size of each artefact against its KL divergence from FP16", size_quality
    ),
    "divergence.svg": Chart("Mean, 99 % and 99.9 % KL divergence of each artefact", divergences),
    "speed.svg": Chart("Prefill and decode speed of each artefact and of the float model", speeds),
    "sensitivity.svg": Chart(
        "KL divergence where a single layer is rounded", sensitivities, has_sensitivity
    ),
}


def charts_of(lineup: Lineup) -> dict[str, Chart]:
    """The charts that a report of these rows has, by file name."""
    return {name: chart for name, chart in CHARTS.items() if chart.is_there(lineup)}


def draw_all(lineup: Lineup, folder: Path) -> None:
    """Write the charts into `folder`; the same rows give the same bytes."""
    with mpl.rc_context(STYLE):
        for name, chart in charts_of(lineup).items():
            chart.draw(lineup, Look()).savefig(folder / name, metadata=METADATA)
