"""Charts as deterministic SVG: size against distance, the tail of the distance, speed."""

from dataclasses import dataclass
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from scripts.backends.face import face_of, faces
from scripts.evaluation.result import Evaluation
from scripts.report.labels import place_labels
from scripts.report.lineup import Lineup, distance, frontier, megabytes
from scripts.report.numbers import rate
from scripts.report.yardsticks import Yardstick


@dataclass(frozen=True)
class Look:
    """How charts are laid out: `width` in inches; titles are left out where the page has its own.

    A `narrow` chart, for phones, puts beneath each other what a wide one puts side by side.
    """

    width: float = 8.6
    titles: bool = True
    narrow: bool = False


INK, SOFT, GREY, LINE, BAND = "#24292f", "#57606a", "#9aa2ab", "#e4e7eb", "#f4f6f8"
ACCENT = "#0a5fb4"
STYLE: Any = {
    # The same ids in every file, and glyphs as paths, so that no font of the reader matters.
    "svg.hashsalt": "quantmake",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": SOFT,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlepad": 10,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "white",
    "figure.constrained_layout.w_pad": 0.14,
    "figure.constrained_layout.h_pad": 0.14,
}
# Of divergences: below this is the noise of FP32, and a log axis has to end somewhere.
_FLOOR = 1e-4
_BESIDE: Any = {"textcoords": "offset points", "fontsize": 9}


def figure_of(look: Look, height: float) -> Figure:
    """An empty figure, `height` in inches."""
    figure = Figure(figsize=(look.width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _colour(row: Evaluation) -> str:
    """An artefact's, by its backend."""
    return face_of(row.backend).colour[0]


def size_quality(lineup: Lineup, look: Look) -> Figure:
    """Size against distance, with the frontier of what no other artefact beats."""
    rows, base, own = lineup.artifacts, lineup.base, lineup.yardstick
    figure = figure_of(look, 5.0)
    axes: Any = figure.add_subplot()
    axes.set_yscale("log")
    points = {row.artifact: (megabytes(row), max(distance(row), own.noise)) for row in rows}
    values = [value for _, value in points.values()]
    sizes = [megabytes(row) for row in (*rows, base)]
    room = 0.09 * (max(sizes) - min(sizes)) or 0.05 * max(sizes)
    axes.set_xlim(min(sizes) - room, max(sizes) + 0.75 * room)
    axes.set_ylim(min(*values, own.verdicts[0].limit) / 2.5, max(*values, own.usable) * 2.5)
    _bands(axes, look, own)
    corners = _corners([points[row.artifact] for row in frontier(rows)], megabytes(base))
    axes.plot(
        *zip(*corners, strict=True),
        color=GREY,
        linewidth=1.3,
        linestyle=(0, (4, 2)),
        zorder=2,
        label="best for its size",
    )
    for backend, face in faces().items():
        mine = [points[row.artifact] for row in rows if row.backend == backend]
        if mine:
            axes.scatter(
                *zip(*mine, strict=True),
                s=62,
                color=face.colour[0],
                marker=face.marker,
                edgecolor="white",
                linewidth=0.8,
                label=face.short,
                zorder=4,
            )
    axes.axvline(megabytes(base), color=INK, linewidth=1.2)
    axes.annotate(
        f"FP16, {megabytes(base):,.0f} MB",
        (megabytes(base), 1),
        (-5, -6),
        xycoords=("data", "axes fraction"),
        rotation=90,
        ha="right",
        va="top",
        **_BESIDE,
    )
    axes.set_xlabel("size, MB")
    axes.set_ylabel(own.axis)
    if look.titles:
        axes.set_title("Further left is smaller, further down is closer to FP16", pad=26)
    _legend(axes, 2 if look.narrow else 4)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    labels = [(*point, name) for name, point in points.items()]
    place_labels(figure, axes, labels, [_colour(row) for row in rows], corners)
    return figure


def _legend(axes: Any, columns: int) -> None:
    """The legend above the axes, from their left."""
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=columns, borderaxespad=0)


def _corners(points: list[tuple[float, float]], end: float) -> list[tuple[float, float]]:
    """The corners of a staircase down through the points, on to x = `end`."""
    rights = [*(x for x, _ in points[1:]), max(end, points[-1][0])]
    steps = zip(points, rights, strict=True)
    return [corner for (x, y), right in steps for corner in ((x, y), (right, y))]


def _bands(axes: Any, look: Look, yardstick: Yardstick) -> None:
    """Shade every other verdict's stretch of the distance, and name each at the right.

    The names stand beside the axes; in a narrow chart inside, left of the line of FP16.
    """
    bottom, top = axes.get_ylim()
    low = bottom
    for place, verdict in enumerate(yardstick.verdicts):
        high = min(verdict.limit, top)
        if high <= low:
            continue
        if place % 2 == 0:
            axes.axhspan(low, high, color=BAND, zorder=0, linewidth=0)
        if high / low > 1.5:
            axes.annotate(
                verdict.word.replace(" ", "\n", 1),
                (1, (low * high**3) ** 0.25 if look.narrow else (low * high) ** 0.5),
                (-30 if look.narrow else 8, 0),
                xycoords=("axes fraction", "data"),
                ha="right" if look.narrow else "left",
                va="center",
                style="italic",
                color=SOFT,
                **_BESIDE,
            )
        low = high


def divergences(lineup: Lineup, look: Look) -> Figure:
    """Mean, 99 % and 99.9 % KL divergence of each artefact: how bad the bad tokens are."""
    ordered = sorted(lineup.artifacts, key=distance)
    figure = figure_of(look, (0.46 if look.narrow else 0.36) * len(ordered) + 1.5)
    axes: Any = figure.add_subplot()
    axes.set_xscale("log")
    shapes = (("o", 54, "mean"), ("|", 120, "99 %"), ("d", 34, "99.9 %"))
    for place, row in enumerate(ordered):
        quality, colour = row.quality, _colour(row)
        values = [max(one, _FLOOR) for one in (distance(row), quality.kld_p99, quality.kld_p999)]
        axes.plot(values[::2], [place] * 2, color=colour, linewidth=2.4, alpha=0.35, zorder=2)
        for value, (shape, size, _) in zip(values, shapes, strict=True):
            axes.scatter(value, place, marker=shape, s=size, color=colour, zorder=3, linewidth=1.6)
    for shape, size, label in shapes:
        axes.scatter([], [], marker=shape, s=size, color=SOFT, label=label, linewidth=1.6)
    names = [row.artifact for row in ordered]
    axes.set_yticks(range(len(ordered)), names)
    axes.set_ylim(len(ordered) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0, labelleft=not look.narrow)
    if look.narrow:
        for place, name in enumerate(names):
            axes.text(0.01, place - 0.3, name, transform=axes.get_yaxis_transform(), fontsize=9)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("KL divergence from FP16 at a token, nats (log scale)")
    if look.titles:
        axes.set_title(
            "How far the tokens are off: on average, and the worst of 100 and of 1000", pad=26
        )
    axes.grid(axis="x", color=LINE, linewidth=0.8)
    _legend(axes, 3)
    return figure


def speeds(lineup: Lineup, look: Look) -> Figure:
    """Both speeds, with the minimum and maximum of the repeats; the float model in grey."""
    own = lineup.yardstick
    rows = [row for row in lineup.rows if row.is_timed]
    height = 0.36 * len(rows) + 1.1
    figure = figure_of(look, 2 * height if look.narrow else height)
    panels = figure.subplots(*((2, 1) if look.narrow else (1, 2)), sharey=True)
    colours = [GREY if lineup.is_baseline(row) else _colour(row) for row in rows]
    for axes, title, spreads in (
        (panels[0], own.panels[1], [own.reading(row) for row in rows]),
        (panels[1], own.panels[0], [own.answering(row) for row in rows]),
    ):
        medians = [one.median for one in spreads]
        whiskers = [(one.median - one.min, one.max - one.median) for one in spreads]
        axes.barh(range(len(rows)), medians, color=colours, height=0.66)
        axes.errorbar(
            medians,
            range(len(rows)),
            xerr=[*zip(*whiskers, strict=True)],
            fmt="none",
            ecolor=INK,
            elinewidth=1,
            capsize=2.5,
        )
        for place, one in enumerate(spreads):
            axes.annotate(rate(one.median), (one.max, place), (6, 0), va="center", **_BESIDE)
        axes.set_xlim(0, max(one.max for one in spreads) * 1.17)
        axes.set_title(title)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color=LINE, linewidth=0.8)
    names = [row.label if lineup.is_baseline(row) else row.artifact for row in rows]
    panels[0].set_yticks(range(len(rows)), names)
    for panel in panels:
        # The second of two side by side has no labels of its own.
        for tick, row in zip(panel.get_yticklabels(), rows, strict=False):
            tick.set_style("italic" if lineup.is_baseline(row) else "normal")
    panels[0].set_ylim(len(rows) - 0.4, -0.6)
    return figure
