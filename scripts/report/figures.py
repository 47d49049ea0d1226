"""The charts as SVG inside the page: colours of the page's theme, text that stays text."""

import re
from collections.abc import Iterable
from io import StringIO

import matplotlib as mpl
from markupsafe import Markup

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
)
from scripts.report.gallery import CHARTS, METADATA
from scripts.report.lineup import Lineup

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
    return {
        name: Markup("\n").join(_inline(name, look, lineup) for look in LOOKS) for name in names
    }


def _inline(name: str, look: str, lineup: Lineup) -> Markup:
    style = {**STYLE, "svg.fonttype": "none"}
    with mpl.rc_context(style):
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
