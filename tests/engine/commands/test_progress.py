"""What people see of long work: how far it is, how fast, how long it still takes."""

import io
import os
from pathlib import Path

import pytest

from scripts.base.weights import Weights, write_fp16
from scripts.engine.console import Console
from scripts.engine.pace import Pace, Report
from scripts.progress import PIPE_VARIABLE


class Clock:
    """Time that passes when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    return clock


def test_bytes_have_a_rate_and_a_time_left(clock: Clock) -> None:
    pace = Pace(Report("quantising", 0, 8e9, "B"))
    clock.now += 5
    assert pace.text(Report("quantising", 2e9, 8e9, "B")) == "quantising 25%, 400 MB/s, 15 s left"
    assert pace.text(Report("quantising", 8e9, 8e9, "B")) == "quantising 100%, 1,600 MB/s"


def test_what_an_earlier_run_did_is_not_counted_as_speed(clock: Clock) -> None:
    pace = Pace(Report("capturing", 20, 30, ""))
    clock.now += 60
    assert pace.text(Report("capturing", 25, 30, "")) == "capturing 83%, 60 s left"


def test_first_moments_and_unknown_totals_promise_nothing(clock: Clock) -> None:
    pace = Pace(Report("downloading", 0, 0, "B"))
    assert pace.text(Report("downloading", 0, 0, "B")) == "downloading"
    clock.now += 1
    assert pace.text(Report("downloading", 5e6, 0, "B")) == "downloading, 5 MB/s"
    assert Pace(Report("x", 0, 10, "")).text(Report("x", 1, 10, "")) == "x 10%"


def test_off_a_terminal_a_long_task_says_a_line_now_and_then(clock: Clock) -> None:
    stream = io.StringIO()
    console = Console(stream)
    console.start("artifact:x")
    for _ in range(70):
        clock.now += 1
        console.progress("artifact:x", Report("quantising", (clock.now - 100) * 1e8, 1e10, "B"))
    console.finish("artifact:x", "✓")
    assert stream.getvalue().splitlines() == [
        "  … artifact:x",
        "  … artifact:x: quantising 30%, 100 MB/s, 70 s left",
        "  … artifact:x: quantising 60%, 100 MB/s, 40 s left",
        "  ✓ artifact:x  (70 s)",
    ]


def test_stages_report_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    reading, writing = os.pipe()
    monkeypatch.setenv(PIPE_VARIABLE, str(writing))
    write_fp16(
        Weights({"a": (3, 4), "b": (5,)}, lambda name: torch.ones(12 if name == "a" else 5)),
        tmp_path,
    )
    os.close(writing)
    with os.fdopen(reading) as lines:
        reports = lines.read().splitlines()
    assert reports[-1] == '{"what": "writing FP16", "done": 34.0, "total": 34, "unit": "B"}'
