"""All charts of a report: to add one is to add an entry here, and to show it in a section."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from scripts.report.charts import STYLE, Look, divergences, size_quality, speeds
from scripts.report.lineup import Lineup
from scripts.report.parts import Drawing, Section
from scripts.report.sensitivity import sensitivities

# Neither a date nor a version may stand in the file.
METADATA: Any = {"Date": None, "Creator": None}

CHARTS: dict[str, Callable[[Lineup, Look], Figure]] = {
    "size-quality": size_quality,
    "divergence": divergences,
    "speed": speeds,
    "sensitivity": sensitivities,
}


def shown_in(sections: Sequence[Section]) -> list[str]:
    """The charts that a report shows, by name."""
    parts = (part for section in sections for part in section.parts)
    return [part.chart for part in parts if isinstance(part, Drawing)]


def draw_all(lineup: Lineup, names: Iterable[str], folder: Path) -> None:
    """Write the charts into `folder`; the same rows give the same bytes."""
    with mpl.rc_context(STYLE):
        for name in names:
            CHARTS[name](lineup, Look()).savefig(folder / f"{name}.svg", metadata=METADATA)
