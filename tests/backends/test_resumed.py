"""A stage that was killed goes on where it was, and ends with the same bytes."""

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from scripts.backends.bitsandbytes.format import Bitsandbytes4bit
from scripts.backends.compressed_tensors.format import CompressedTensors
from scripts.backends.gguf.format import GgufFile
from scripts.backends.onnx.formats.awq import OnnxAwq
from scripts.backends.onnx.formats.gptq import OnnxGptq
from scripts.calibration.gradients import Gradients
from scripts.checkpoint import Checkpoints
from scripts.stage import Stage
from tests.onnx_models import digests


class Dying(Checkpoints):
    """Keeps every result, and ends the run once a number of them were saved."""

    def __init__(self, folder: Path, left: int) -> None:
        super().__init__(folder, seconds_between=0)
        self.left = left
        self._one_at_a_time = threading.Lock()  # layers are saved by the threads that made them

    def is_due(self) -> bool:
        """Always, so that no test depends on the time that a step takes."""
        return True

    def save(self, name: str, tensors: Mapping[str, torch.Tensor]) -> None:
        with self._one_at_a_time:
            if self.left <= 0:
                raise KeyboardInterrupt
            super().save(name, tensors)
            self.left -= 1


@pytest.fixture
def nodes(
    tiny_base: Path,
    tiny_graph: Path,
    tiny_capture: Path,
    tiny_gradients: Path,
    tiny_calibration: Path,
    tiny_f16: Path,
) -> dict[str, Path]:
    return {
        "base": tiny_base,
        "graph": tiny_graph,
        "capture": tiny_capture,
        "gradients": tiny_gradients,
        "calibration": tiny_calibration,
        "f16": tiny_f16,
    }


@pytest.mark.parametrize(
    ("stage", "needs"),
    [
        (Bitsandbytes4bit(format="bitsandbytes", method="gptq"), ("base", "capture")),
        (CompressedTensors(format="compressed-tensors", method="gptq"), ("base", "capture")),
        (OnnxGptq(format="onnx", bits=4, method="gptq"), ("graph", "capture")),
        (
            OnnxGptq(format="onnx", bits=8, method="gptq", symmetric=False),
            ("graph", "capture"),
        ),
        (OnnxAwq(format="onnx", bits=4, method="awq"), ("graph", "capture")),
        (
            GgufFile(format="gguf", type="auto", like="q5_0", method="gptq"),
            ("f16", "capture", "gradients"),
        ),
        (Gradients(), ("base", "calibration")),
    ],
)
def test_interrupted_stage_ends_with_the_same_bytes(
    stage: Stage,
    needs: tuple[str, ...],
    nodes: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs = {name: nodes[name] for name in needs}

    def run(name: str, checkpoints: Checkpoints) -> dict[str, str]:
        monkeypatch.setattr(Checkpoints, "of_this_run", lambda: checkpoints)
        (tmp_path / name).mkdir()
        is_file = isinstance(stage, GgufFile)
        stage.run(inputs, tmp_path / name / "out.gguf" if is_file else tmp_path / name)
        return digests(tmp_path / name)

    straight = run("straight", Checkpoints(None))
    with pytest.raises(KeyboardInterrupt):
        run("halted", Dying(tmp_path / "kept", 2))
    kept = len(list((tmp_path / "kept").iterdir()))
    resumed = Dying(tmp_path / "kept", 1000)
    assert run("resumed", resumed) == straight
    assert kept in (1, 2)
    saved = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()}
    if not isinstance(stage, Gradients):  # it keeps one state, and replaces it
        assert len(saved) == kept + 1000 - resumed.left  # what was finished is not done again


def test_short_stage_writes_nothing(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "kept")
    made = checkpoints.result("/a/b", lambda: {"x": torch.ones(2)})
    assert made["x"].tolist() == [1, 1]
    assert not (tmp_path / "kept").exists()


def test_result_is_kept_under_any_name(tmp_path: Path) -> None:
    Checkpoints(tmp_path, seconds_between=0).result("/a/b", lambda: {"x": torch.ones(2)})
    again = Checkpoints(tmp_path).result("/a/b", lambda: {"x": torch.zeros(2)})
    assert again["x"].tolist() == [1, 1]


def test_damaged_result_is_made_again(tmp_path: Path) -> None:
    Checkpoints(tmp_path, seconds_between=0).result("a", lambda: {"x": torch.ones(2)})
    (tmp_path / "a").write_bytes(b"half")
    again = Checkpoints(tmp_path).result("a", lambda: {"x": torch.zeros(2)})
    assert again["x"].tolist() == [0, 0]
