"""The float graph as OpenVINO runs it is compared with the base before anything is quantised."""

from pathlib import Path

import pytest

from scripts.backends.float_gate import disagreement
from scripts.errors import QuantmakeError
from scripts.exec import run_stage
from tests.backends.test_parity import break_rotary_table

pytest.importorskip("openvino", reason="the extra openvino is not installed")
pytestmark = pytest.mark.slow


def test_float_model_of_the_base_agrees_with_it(
    tiny_base: Path, tiny_graph: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert disagreement("openvino", tiny_graph, tiny_base) == ""
    said = capfd.readouterr().out
    assert "FP32 graph (OpenVINO) beside the base, 256 tokens: logits differ by " in said


def test_float_model_that_is_wrong_is_refused_and_nothing_is_quantised(
    tiny_base: Path, tiny_graph: Path, tmp_path: Path
) -> None:
    from scripts.backends.openvino.formats.rtn import OpenVinoRtn

    inputs = {"base": tiny_base, "graph": break_rotary_table(tiny_graph, tmp_path / "broken", 1)}
    stage = OpenVinoRtn(format="openvino", bits=8, method="rtn")
    with pytest.raises(QuantmakeError, match=r"^FP32 graph \(OpenVINO\) does not predict what"):
        run_stage(stage, inputs, tmp_path / "out")
