"""Tune a written ONNX artefact: its scales and its norms, against the FP16 base."""

from pathlib import Path

from scripts.backends.onnx.graph import open_graph
from scripts.backends.onnx.loader import OrtModel
from scripts.backends.onnx.student import put_back, student_of
from scripts.backends.tune import Tune
from scripts.tuning.student import learn
from scripts.workers import available_cores


def tune(folder: Path, base: Path, calibration: Path, settings: Tune) -> None:
    """Replace the scales and norms of the artefact in `folder` by learnt ones of the same types.

    Where the windows held out are not predicted better, the artefact stays as it was. Raises
    QuantmakeError for a graph that is not understood, and for a calibration of one window.
    """
    model = open_graph(folder)
    student, learnt = student_of(model, base)

    def scorer(context: int) -> OrtModel:
        return OrtModel(folder, available_cores(), context)

    if not learn(student, scorer, base, calibration, settings):
        return
    fresh = folder / ".tuned"
    fresh.mkdir()
    put_back(model, learnt, fresh)
    for path in fresh.iterdir():
        path.replace(folder / path.name)
    fresh.rmdir()
