"""All charts of a report, as files and inside the page: to add one is to add an entry here."""

import re
from collections.abc import Callable, Iterable, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

from scripts.backends.face import faces
from scripts.report.charts import (
    ACCENT,
    BAND,
    GREY,
    INK,
    LINE,
    SOFT,
    STYLE,
    Look,
    divergences,
    size_quality,
    speeds,
)
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


# One for screens and paper, one for phones; the style sheet shows the one that fits.
LOOKS = {
    "wide": Look(width=9.6, titles=False),
    "narrow": Look(width=4.1, titles=False, narrow=True),
}
_VARIABLES = {
    INK: "ink",
    SOFT: "soft",
    GREY: "grey",
    LINE: "line",
    BAND: "band",
    ACCENT: "link",
    "#ffffff": "paper",
    # Matplotlib's own first colour, which the whiskers' caps are filled with: lines of no area.
    "#1f77b4": "ink",
    **{face.colour[0]: name for name, face in faces().items()},
}
_COLOUR = re.compile("|".join(_VARIABLES))
_HEAD = re.compile(r'^.*?<svg [^>]*(viewBox="[^"]*")[^>]*>', re.DOTALL)
_IDS = re.compile(r' id="([^"]*)"')
_REFERENCES = re.compile(r'(url\(#|href="#)([^)"]*)')


def figures(lineup: Lineup, names: Iterable[str]) -> dict[str, Markup]:
    """The charts by their names, each in all looks."""
    joint = Markup("\n")
    return {name: joint.join(_inline(name, look, lineup) for look in LOOKS) for name in names}


def _inline(name: str, look: str, lineup: Lineup) -> Markup:
    with mpl.rc_context({**STYLE, "svg.fonttype": "none"}):
        figure = CHARTS[name](lineup, LOOKS[look])
        written = StringIO()
        figure.savefig(written, format="svg", metadata=METADATA, transparent=True)
    return Markup(themed(written.getvalue(), name, look))


def themed(svg: str, name: str, look: str) -> str:
    """Matplotlib's file as an element of a page that has other such elements too.

    The figure around it carries the words for screen readers, so the drawing is hidden from them.
    """
    svg = _HEAD.sub(rf'<svg class="{look}" \1 aria-hidden="true" focusable="false">', svg, count=1)
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = _COLOUR.sub(lambda colour: f"var(--{_VARIABLES[colour[0]]})", svg)
    svg = re.sub(r" font-family: [^;]*;", "", svg)
    svg = svg.replace("xlink:href", "href")
    used = {place for _, place in _REFERENCES.findall(svg)}
    prefix = f"{name}-{look}-"
    svg = _IDS.sub(lambda one: f' id="{prefix}{one[1]}"' if one[1] in used else "", svg)
    return _REFERENCES.sub(rf"\g<1>{prefix}\g<2>", svg).strip()
