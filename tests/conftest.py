"""Fixtures that many tests share: the tiny base and the tiny text, made once per run."""

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from scripts.backends.gguf.f16 import F16Gguf
from scripts.backends.gguf.toolchain import SHA256, VERSION, download, unpack
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

Once = Callable[[str, Callable[[Path], object]], Path]

WORKER = "PYTEST_XDIST_WORKER"
LONGEST = ("tests/test_real_model.py", "tests/test_pipeline.py", "tests/test_same_bytes.py")
"""Files that are begun first, so that none of them is left to one process at the end."""

SECONDS_OF_A_FAST_TEST = 10
_TOO_LONG = "not fast"


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
    items.sort(key=lambda item: item.location[0] not in LONGEST)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Note a fast test that is not: it, or the processes that its code starts, computes long."""
    before = sum(os.times()[:4])
    yield
    took = sum(os.times()[:4]) - before
    if item.get_closest_marker("fast") and took > SECONDS_OF_A_FAST_TEST:
        item.user_properties.append((_TOO_LONG, f"{item.nodeid} computed for {took:.0f} s"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests that are too long for `-m fast`; no noise of a machine fails one."""
    reports = [one for kind in ("passed", "failed") for one in terminalreporter.stats.get(kind, [])]
    for name, line in (noted for report in reports for noted in report.user_properties):
        if name == _TOO_LONG:
            terminalreporter.write_line(f"not fast: {line}: make it faster, or mark it slow")


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """A function that makes a folder by its name, once for all processes of this run."""
    root = tmp_path_factory.getbasetemp()
    if WORKER in os.environ:
        root = root.parent

    def make(name: str, work: Callable[[Path], object]) -> Path:
        folder, fresh = root / "once" / name, root / "once" / f"{name}.new"
        folder.parent.mkdir(exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.exists():
                shutil.rmtree(fresh, ignore_errors=True)
                fresh.mkdir()
                work(fresh)
                fresh.rename(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_base(once: Once) -> Path:
    """A Hugging Face folder (FP16) of the tiny Llama: 3 layers, width 128, 512 tokens."""
    return once("base", make_tiny_base)


@pytest.fixture(scope="session")
def tiny_text(once: Once) -> Path:
    """A text of 300 lines in the tiny language, which the tiny Llama did not see."""
    return once("text", lambda folder: write_tiny_text(folder / "tiny.txt")) / "tiny.txt"


@pytest.fixture(scope="session")
def llama_cpp_source(once: Once) -> Path:
    """The source distribution of llama-cpp-python, fetched by pip: the one fixture that needs the
    network."""
    folder = once("llama-cpp-source", partial(download, VERSION, SHA256))
    return folder / f"llama_cpp_python-{VERSION}.tar.gz"


@pytest.fixture(scope="session")
def toolchain(llama_cpp_source: Path, once: Once) -> Path:
    """llama.cpp's converter."""
    return once("toolchain", partial(unpack, llama_cpp_source))


@pytest.fixture(scope="session")
def tiny_f16(tiny_base: Path, toolchain: Path, once: Once) -> Path:
    """The tiny base as a GGUF file in F16."""
    stage, inputs = F16Gguf(tokenizer_pre="smollm"), {"base": tiny_base, "toolchain": toolchain}
    return once("f16", lambda folder: run_stage(stage, inputs, folder / "tiny.gguf")) / "tiny.gguf"


@pytest.fixture(scope="session")
def tiny_graph(tiny_base: Path, once: Once) -> Path:
    """The fp32 ONNX graph of the tiny base."""
    return once("graph", partial(run_stage, OnnxGraph(), {"base": tiny_base}))


@pytest.fixture(scope="session")
def tiny_calibration(tiny_base: Path, tiny_text: Path, once: Once) -> Path:
    """A folder with windows of token ids [8, 128]."""

    def write(folder: Path) -> None:
        from transformers import AutoTokenizer

        ids = AutoTokenizer.from_pretrained(tiny_base)(tiny_text.read_text())["input_ids"]
        write_windows(folder, np.array(ids[: 8 * 128], np.int32).reshape(8, 128))

    return once("calibration", write)


@pytest.fixture(scope="session")
def tiny_gradients(tiny_base: Path, tiny_calibration: Path, once: Once) -> Path:
    """The squared gradients of the tiny base."""
    inputs = {"base": tiny_base, "calibration": tiny_calibration}
    return once("gradients", partial(run_stage, Gradients(), inputs))


@pytest.fixture(scope="session")
def tiny_capture(tiny_base: Path, tiny_calibration: Path, once: Once) -> Path:
    """What the tiny calibration feeds to the linears of the tiny base."""
    inputs = {"base": tiny_base, "calibration": tiny_calibration}
    return once("capture", partial(run_stage, Capture(), inputs))
