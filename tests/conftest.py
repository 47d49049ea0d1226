"""Fixtures that many tests share: the tiny base and the tiny text, made once per run."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from scripts.backends.gguf.f16 import F16Gguf
from scripts.backends.gguf.toolchain import Toolchain
from scripts.backends.onnx.export import OnnxGraph
from scripts.calibration.capture import Capture
from scripts.calibration.gradients import Gradients
from scripts.exec import run_stage
from scripts.token_windows import write_windows
from tests.tiers import FETCHING, starts_processes
from tests.tiny import make_tiny_base, write_tiny_text

# Before torch is loaded, here and in the processes of stages: threads that wait for work sleep.
# Spinning gains nothing on models this small, and took 50 times as long on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

SECONDS_OF_A_FAST_TEST = 10
_TOO_LONG: list[str] = []


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Mark the fast tests, for `pytest -m fast`; see `tests/tiers.py`."""
    for item in items:
        fixtures = [known[-1].func for known in item._fixtureinfo.name2fixturedefs.values()]
        slow = (
            item.get_closest_marker("slow")
            or FETCHING & {*item.fixturenames}
            or starts_processes([item.function, *fixtures])
        )
        item.add_marker(pytest.mark.slow if slow else pytest.mark.fast)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Note a fast test that is not: it, or the processes that its code starts, computes long."""
    before = sum(os.times()[:4])
    yield
    took = sum(os.times()[:4]) - before
    if item.get_closest_marker("fast") and took > SECONDS_OF_A_FAST_TEST:
        _TOO_LONG.append(f"{item.nodeid} computed for {took:.0f} s")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests that are too long for `-m fast`; no noise of a machine fails one."""
    for line in _TOO_LONG:
        terminalreporter.write_line(f"not fast: {line}: make it faster, or mark it slow")


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder (FP16) of the tiny Llama: 3 layers, width 128, 512 tokens."""
    return make_tiny_base(tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text of 300 lines in the tiny language, which the tiny Llama did not see."""
    return write_tiny_text(tmp_path_factory.mktemp("text") / "tiny.txt")


@pytest.fixture(scope="session")
def toolchain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """llama.cpp's converter, fetched by pip: the one fixture that needs the network."""
    folder = tmp_path_factory.mktemp("toolchain")
    run_stage(Toolchain(), {}, folder)
    return folder


@pytest.fixture(scope="session")
def tiny_f16(tiny_base: Path, toolchain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base as a GGUF file in F16."""
    out = tmp_path_factory.mktemp("f16") / "tiny.gguf"
    run_stage(F16Gguf(tokenizer_pre="smollm"), {"base": tiny_base, "toolchain": toolchain}, out)
    return out


@pytest.fixture(scope="session")
def tiny_graph(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fp32 ONNX graph of the tiny base."""
    folder = tmp_path_factory.mktemp("graph")
    run_stage(OnnxGraph(), {"base": tiny_base}, folder)
    return folder


@pytest.fixture(scope="session")
def tiny_calibration(
    tiny_base: Path, tiny_text: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with windows of token ids [8, 128]."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("calibration")
    ids = AutoTokenizer.from_pretrained(tiny_base)(tiny_text.read_text())["input_ids"]
    write_windows(folder, np.array(ids[: 8 * 128], np.int32).reshape(8, 128))
    return folder


@pytest.fixture(scope="session")
def tiny_gradients(
    tiny_base: Path, tiny_calibration: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The squared gradients of the tiny base."""
    folder = tmp_path_factory.mktemp("gradients")
    run_stage(Gradients(), {"base": tiny_base, "calibration": tiny_calibration}, folder)
    return folder


@pytest.fixture(scope="session")
def tiny_capture(
    tiny_base: Path, tiny_calibration: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What the tiny calibration feeds to the linears of the tiny base."""
    folder = tmp_path_factory.mktemp("capture")
    run_stage(Capture(), {"base": tiny_base, "calibration": tiny_calibration}, folder)
    return folder
