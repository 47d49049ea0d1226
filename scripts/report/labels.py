"""Labels beside the points of a chart, so that none covers a point or another label."""

from collections.abc import Sequence
from itertools import pairwise
from math import cos, hypot, pi, sin
from typing import Any

from matplotlib import rcParams
from matplotlib.patheffects import withStroke

Point = tuple[float, float]
# Left, bottom, right and top, in pixels. Thousands are compared, so they are no Bbox.
Box = tuple[float, float, float, float]

# Directions in the order of preference: right, left, above, below, then between.
_TURNS = (0, 1, 0.5, 1.5, 0.25, 1.75, 0.75, 1.25)
_REACHES = (9, 16, 26, 38, 52)
_OFFSETS = [(r * cos(t * pi), r * sin(t * pi)) for r in _REACHES for t in _TURNS]
_LEADER_FROM = 20
_DOT = 7
_HORIZONTAL, _VERTICAL = ("right", "center", "left"), ("top", "center", "bottom")


def place_labels(
    figure: Any,
    axes: Any,
    points: Sequence[tuple[float, float, str]],
    colours: Sequence[str],
    line: Sequence[Point] = (),
) -> None:
    """Write a label beside each point (x, y, text), where it covers least; best nothing at all.

    The texts that stand in the axes already are kept free, and so is `line`, by its corners, as
    far as can be. A label that has to stand off gets a thin line to its point.
    """
    # A halo makes outlines of a text; a page that wants texts draws the halo itself.
    halo = [withStroke(linewidth=2.5, foreground="white")]
    effects = halo if rcParams["svg.fonttype"] == "path" else []
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    pixels = [axes.transData.transform((x, y)) for x, y, _ in points]
    taken = [_box_of(text.get_window_extent(renderer)) for text in axes.texts]
    taken += [(x - _DOT, y - _DOT, x + _DOT, y + _DOT) for x, y in pixels]
    taken += _along([tuple(axes.transData.transform(corner)) for corner in line])
    inside = _box_of(axes.bbox)
    for (x, y, text), colour, pixel in zip(points, colours, pixels, strict=True):
        trial = axes.text(x, y, text, fontsize=9)
        size = trial.get_window_extent(renderer)
        trial.remove()
        boxes = {
            offset: _box(pixel, offset, (size.width, size.height), figure.dpi / 72)
            for offset in _OFFSETS
        }
        costs = {one: _cost(one, box, taken, inside) for one, box in boxes.items()}
        offset = min(costs, key=costs.__getitem__)
        taken.append(boxes[offset])
        far = hypot(*offset) > _LEADER_FROM
        axes.annotate(
            text,
            (x, y),
            offset,
            textcoords="offset points",
            ha=_HORIZONTAL[_side(offset[0]) + 1],
            va=_VERTICAL[_side(offset[1]) + 1],
            fontsize=9,
            color=colour,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.7} if far else None,
            zorder=5,
            path_effects=effects,
        )


def _along(corners: Sequence[Point]) -> list[Box]:
    """Small boxes along a line of pixels."""
    boxes = []
    for one, two in pairwise(corners):
        steps = max(1, round(hypot(two[0] - one[0], two[1] - one[1]) / 6))
        for step in range(steps + 1):
            x, y = (one[i] + (two[i] - one[i]) * step / steps for i in range(2))
            boxes.append((x - 2, y - 2, x + 2, y + 2))
    return boxes


def _box_of(bbox: Any) -> Box:
    left, bottom, right, top = map(float, bbox.extents)
    return (left, bottom, right, top)


def _side(offset: float) -> int:
    """1 for a label beyond its point, -1 before it, 0 centred on it."""
    return (offset > 3) - (offset < -3)


def _box(pixel: Point, offset: Point, size: Point, scale: float) -> Box:
    """The pixels that a label covers; `offset` in points, `scale` in pixels a point."""
    corner = [pixel[i] + scale * offset[i] - size[i] * (1 - _side(offset[i])) / 2 for i in range(2)]
    return (corner[0], corner[1], corner[0] + size[0], corner[1] + size[1])


def _cost(offset: Point, box: Box, taken: Sequence[Box], inside: Box) -> float:
    """Square pixels of others that are covered or lie outside, and a little for the way."""
    wide = (box[0] - 2, box[1] - 2, box[2] + 2, box[3] + 2)
    covered = sum(_overlap(wide, other) for other in taken)
    return covered + _overlap(wide, wide) - _overlap(wide, inside) + 0.2 * hypot(*offset)


def _overlap(one: Box, two: Box) -> float:
    width = min(one[2], two[2]) - max(one[0], two[0])
    height = min(one[3], two[3]) - max(one[1], two[1])
    return width * height if width > 0 and height > 0 else 0.0
