"""What is edited makes stale what it makes the bytes of, and nothing else."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.checkout import OTHER_METHODS, Checkout, make_checkout

_TELL = """
import json, dodo
from scripts.engine.commands.graph_command import checker_of
from types import SimpleNamespace

told = {}
for name, maker in vars(dodo).items():
    for task in maker() if name.startswith("task_") else ():
        checker = checker_of(SimpleNamespace(uptodate=[(one,) for one in task["uptodate"]]))
        if checker is not None:
            stage = checker.action.stage
            key = [stage.model_dump(mode="json"), checker.action.tools()]
            told[task["basename"] + ":" + task.get("name", "")] = key
print(json.dumps(told))
"""
_MEASURED = {"reference", "evaluate", "timings", "sensitivity", "_pages", "_texts"}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A copy of the project, its recipe with every format; nothing is built."""
    folder = tmp_path_factory.mktemp("keys")
    (folder / "model").mkdir()
    (folder / "text.txt").touch()
    copy = make_checkout(folder, folder / "model", folder / "text.txt")
    copy.artifacts |= OTHER_METHODS
    copy.write_recipe()
    return copy


def keys(checkout: Checkout) -> dict[str, object]:
    """What of each task's key needs no inputs, by task."""
    done = checkout.python("-c", _TELL)
    assert done.returncode == 0, done.stderr
    told: dict[str, object] = json.loads(done.stdout)
    return told


@pytest.fixture(scope="module")
def before(checkout: Checkout) -> dict[str, object]:
    """The keys of the project as it is."""
    return keys(checkout)


Stale = Callable[..., set[str]]


@pytest.fixture
def stale(checkout: Checkout, before: dict[str, object]) -> Stale:
    """A function that edits a module and gives the tasks whose keys that changed."""

    def edit(module: str, old: str = "", new: str = "") -> set[str]:
        path = checkout.folder / module
        source = path.read_text()
        assert old in source
        edited = source.replace(old, new) if old else f"{source}\nEDITED = True\n"
        path.write_text(edited)
        try:
            now = keys(checkout)
        finally:
            path.write_text(source)
        assert now.keys() == before.keys()
        return {task for task in now if now[task] != before[task]}

    return edit


def artefacts(tasks: set[str]) -> set[str]:
    """Those of the tasks that make artefacts, or what artefacts are made from."""
    return {task for task in tasks if task.partition(":")[0] not in _MEASURED}


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("scripts/progress.py", "", ""),
        ("scripts/errors.py", "", ""),
        ("scripts/report/charts.py", "", ""),
        ("scripts/chat/commands.py", "", ""),
        ("scripts/engine/console.py", "", ""),
        ("scripts/recipe/load.py", "", ""),
        ("scripts/backends/onnx/blocks/format.py", 'f"INT{self.bits}', 'f"Int{self.bits}'),
        ("scripts/footprints.py", "disk=0.63", "disk=0.7"),
        ("scripts/backends/onnx/blocks/format.py", '"""It loads,', '"""It runs,'),
    ],
    ids=["progress", "errors", "chart", "chat", "console", "recipe", "label", "forecast", "doc"],
)
def test_what_makes_no_bytes_makes_no_artefact_stale(
    stale: Stale, module: str, old: str, new: str
) -> None:
    assert artefacts(stale(module, old, new)) == set()


def test_what_a_stage_imports_is_in_its_key(before: dict[str, Any]) -> None:
    packages = {task: key[1]["packages"] for task, key in before.items()}
    assert {"numpy", "onnx-ir", "onnxruntime-genai"} <= packages["graph:"].keys()
    assert {"numpy", "safetensors"} <= packages["capture:"].keys()
    assert "torch" not in packages["artifact:model-q8_0.gguf"]


def test_each_package_in_a_key_is_installed(before: dict[str, Any]) -> None:
    for task, key in before.items():
        missing = [one for one, version in key[1]["packages"].items() if version == "not installed"]
        assert not missing, f"{task}: see DISTRIBUTIONS in scripts/engine/build/sources.py"


def test_kernel_makes_its_users_stale(stale: Stale) -> None:
    kernel = stale("scripts/backends/bitsandbytes/kernel.py")
    assert kernel == {f"artifact:{name}" for name in ("model-int4", "nf4-gptq", "nf4-tuned")}


def test_method_makes_its_users_stale(stale: Stale) -> None:
    users = stale("scripts/methods/gptq.py")
    made = ("int4-gptq", "int8-gptq", "nf4-gptq", "model-int8-dynamic")
    assert {f"artifact:{name}" for name in made} <= users
    others = ("int4-hqq", "model-int8", "model-int4", "model-q8_0.gguf")
    assert not users & {"base:", "capture:", *(f"artifact:{name}" for name in others)}


def test_module_that_an_option_asks_for_makes_no_others_stale(stale: Stale) -> None:
    assert stale("scripts/backends/onnx/tuning.py") == {"artifact:int4-tuned"}
    assert stale("scripts/backends/bitsandbytes/tuning.py") == {"artifact:nf4-tuned"}
    assert stale("scripts/backends/gguf/tuning.py") == {"artifact:tuned.gguf"}


def test_backend_makes_its_own_rows_stale(stale: Stale) -> None:
    rows = stale("scripts/backends/gguf/loader.py")
    measured = {task for task in rows if task.startswith("evaluate:")}
    assert measured == {
        f"evaluate:{name}"
        for name in ("f16.gguf", *OTHER_METHODS, "model.gguf", "model-q8_0.gguf")
        if name.endswith(".gguf")
    }
    assert artefacts(rows) == {"artifact:tuned.gguf"}  # compared with what llama.cpp computes


@pytest.mark.parametrize(
    ("module", "old", "new", "pages"),
    [
        ("scripts/backends/onnx/blocks/format.py", 'f"INT{self.bits}', 'f"Int{self.bits}', True),
        ("scripts/backends/onnx/face.py", "#0072b2", "#0072b3", True),
        ("scripts/methods/words.py", "Rounding to nearest", "To the nearest", False),
        ("scripts/report/charts.py", "", "", False),
        ("scripts/report/measures.py", '"same top token"', '"top token"', True),
    ],
    ids=["label", "face", "glossary", "chart", "measure"],
)
def test_what_people_read_makes_reports_stale_and_no_measurement(
    stale: Stale, module: str, old: str, new: str, pages: bool
) -> None:
    reports = {"_pages:", "_texts:"} if pages else {"_pages:"}
    assert reports <= stale(module, old, new) <= {"_pages:", "_texts:"}
