"""Charts: the same bytes from the same rows, labels that cover nothing, odd line-ups."""

from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from scripts.report.charts import Look, size_quality
from scripts.report.gallery import CHARTS, draw_all
from scripts.report.lineup import Lineup, frontier
from tests.report.factory import evaluation, lineup, sensitivity, usual

LONG = "a-recipe-may-well-have-a-name-as-long-as-this-one.gguf"
ODD = {
    "one": lineup(evaluation("only")),
    "no distance": lineup(evaluation("a", kld=0), evaluation("b", kld=-1e-9)),
    "larger than FP16": lineup(evaluation("large", megabytes=500), evaluation("small")),
    "only the base beside it": Lineup(
        usual().baselines[:1], usual().artifacts[:2], sensitivity=sensitivity()
    ),
    "size of the base": lineup(evaluation("same", megabytes=269)),
    "far off": lineup(evaluation("wreck", kld=14), evaluation(LONG, kld=0.0001, megabytes=260)),
}


def test_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        draw_all(usual(), CHARTS, tmp_path / name)
    for chart in CHARTS:
        one, two = ((tmp_path / name / f"{chart}.svg").read_bytes() for name in ("one", "two"))
        assert one == two
        assert b"<dc:date>" not in one
        assert str(tmp_path).encode() not in one


@pytest.mark.parametrize("name", ODD)
def test_odd_line_ups_are_drawn(name: str, tmp_path: Path) -> None:
    draw_all(ODD[name], CHARTS, tmp_path)
    for chart in tmp_path.iterdir():
        root = ElementTree.parse(chart).getroot()
        assert root.tag.endswith("svg")
        assert "nan" not in chart.read_text().lower().split()


def test_frontier_holds_what_nothing_beats() -> None:
    assert [row.artifact for row in frontier(usual().artifacts)] == [
        "model.gguf",
        "model-q4_k_m.gguf",
        "model-q8_0.gguf",
    ]


def _labels(figure: Any, names: set[str]) -> dict[str, Bbox]:
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    (axes,) = figure.axes
    return {
        text.get_text(): Text.get_window_extent(text, renderer)
        for text in axes.texts
        if text.get_text() in names
    }


@pytest.mark.parametrize(
    "rows",
    [
        usual(),
        lineup(
            *(
                evaluation(f"crowd-{n}", kld=0.05 + 0.002 * n, megabytes=150 + n / 4)
                for n in range(7)
            )
        ),
        ODD["far off"],
    ],
    ids=["usual", "crowd", "long name"],
)
def test_labels_cover_neither_labels_nor_points(rows: Lineup) -> None:
    figure = size_quality(rows, Look())
    labels = _labels(figure, {row.artifact for row in rows.artifacts})
    assert len(labels) == len(rows.artifacts)
    for one, two in combinations(labels, 2):
        assert Bbox.intersection(labels[one], labels[two]) is None, (one, two)
    (axes,) = figure.axes
    for row in rows.artifacts:
        point = axes.transData.transform((row.size.bytes / 1e6, row.quality.kld_mean.value))
        assert not any(box.contains(*point) for box in labels.values())
    page = figure.bbox
    for name, box in labels.items():
        assert page.x0 <= box.x0 < box.x1 <= page.x1, name
        assert page.y0 <= box.y0 < box.y1 <= page.y1, name
