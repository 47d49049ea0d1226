"""What the tests of the report share."""

import pytest
from matplotlib.figure import Figure

from scripts.report.gallery import CHARTS


@pytest.fixture
def plain_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that look at words: every chart is an empty sheet, drawn in no time."""
    for name in CHARTS:
        monkeypatch.setitem(CHARTS, name, lambda *_: Figure())
