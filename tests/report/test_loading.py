"""The code of the report, taken out of it and run on real artefacts of the tiny model."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.backends.bitsandbytes.format import Bitsandbytes4bit
from scripts.backends.compressed_tensors.format import CompressedTensors
from scripts.backends.face import face_of, faces
from scripts.backends.format import Format
from scripts.backends.gguf.format import GgufFile
from scripts.backends.mlx.formats.rtn import MlxRtn
from scripts.backends.onnx.export import OnnxGraph
from scripts.backends.onnx.formats.rtn import OnnxRtn
from scripts.backends.openvino.formats.rtn import OpenVinoRtn
from scripts.exec import run_stage
from scripts.extras import environment_folder
from scripts.report.loading import recipe_line, snippet
from scripts.report.write_report import NAME
from tests.checkout import is_installed
from tests.report.factory import evaluation, inputs_of, lineup, report_of

ARTIFACTS: dict[str, Format] = {
    "model-int4": Bitsandbytes4bit(format="bitsandbytes"),
    "w4a16": CompressedTensors(format="compressed-tensors"),
    "nvfp4": CompressedTensors(format="compressed-tensors", scheme="NVFP4A16"),
    "model-int8": OnnxRtn(format="onnx", bits=8, method="rtn"),
    "model-int4-onnx": OnnxRtn(format="onnx", bits=4, method="rtn"),
    "model.gguf": GgufFile(format="gguf", type="q4_0"),
    "model-q8_0.gguf": GgufFile(format="gguf", type="q8_0"),
    **(
        {"model-openvino": OpenVinoRtn(format="openvino", bits=8, method="rtn")}
        if is_installed("openvino")
        else {}
    ),
    **({"model-mlx": MlxRtn(format="mlx", bits=4, method="rtn")} if is_installed("mlx") else {}),
}
PYTHONS = {"mlx": str(environment_folder("mlx") / "bin/python")}
"""Of runtimes in an environment of their own."""
RUNTIMES = [name for name in faces() if name in {one.backend for one in ARTIFACTS.values()}]
OF_NO_PYTHON = {"onnx-web"}
"""Backends whose snippet a browser runs."""


def test_a_snippet_of_each_installed_backend_is_run() -> None:
    installed = {name for name in faces() if is_installed(name)}
    assert {*RUNTIMES} == installed - OF_NO_PYTHON, "add an artefact of it to ARTIFACTS"


def extract_snippets(markdown: str) -> list[str]:
    """The Python code blocks of a text."""
    return re.findall(r"```python\n(.*?)```", markdown, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tiny_base: Path, tiny_f16: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artefacts of the tiny model in `quantized/`, and the report beside them."""
    root = tmp_path_factory.mktemp("snippets")
    (root / "quantized").mkdir()
    graph = root / "graph"
    run_stage(OnnxGraph(), {"base": tiny_base}, graph)
    nodes = {"base": tiny_base, "graph": graph, "f16": tiny_f16}
    rows = lineup(*(evaluation(name, one.backend) for name, one in ARTIFACTS.items()))
    for name, one in ARTIFACTS.items():
        run_stage(one, {need: nodes[need] for need in one.needs}, root / "quantized" / name)
    inputs = inputs_of(rows, root / "evaluation")
    lines = {name: one.model_dump(mode="json") for name, one in ARTIFACTS.items()}
    report = report_of(rows, artifacts=lines)
    run_stage(report, inputs, root / "report")
    return root


def _choices() -> list[tuple[int, str]]:
    """Each artefact, and the number of the snippet that loads it."""
    return [(RUNTIMES.index(one.backend), name) for name, one in ARTIFACTS.items()]


@pytest.mark.parametrize(("place", "name"), _choices(), ids=list(ARTIFACTS))
def test_snippet_loads_the_artefact_and_writes(place: int, name: str, folder: Path) -> None:
    code = extract_snippets((folder / "report" / NAME).read_text())[place]
    line = f'path = "quantized/{name}"'
    assert line in code
    chosen = re.sub(r"^path = .*\n(# path = .*\n)*", f"{line}\n", code, flags=re.MULTILINE)
    assert chosen.count("path = ") == 1
    done = subprocess.run(
        [PYTHONS.get(ARTIFACTS[name].backend, sys.executable), "-c", chosen],
        cwd=folder,
        env={
            **{name: one for name, one in os.environ.items() if not name.startswith("ONEDNN")},
            "HF_HUB_OFFLINE": "1",
        },  # as a person has it: what runs stages holds oneDNN to AVX2
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_report_has_one_snippet_for_each_runtime(folder: Path) -> None:
    assert len(extract_snippets((folder / "report" / NAME).read_text())) == len(RUNTIMES)


def test_snippet_names_every_artefact_and_loads_the_first() -> None:
    code = snippet(face_of("gguf"), ["out/a.gguf", 'out/b"c.gguf'])
    assert code.splitlines()[:5] == [
        "from llama_cpp import Llama",
        "",
        'path = "out/a.gguf"',
        '# path = "out/b\\"c.gguf"',
        "",
    ]
    compile(code, "snippet", "exec")


def test_line_of_the_recipe_begins_with_what_chooses_the_format() -> None:
    line = {"bits": 4, "block_size": 32, "format": "onnx", "method": "awq", "tune": None}
    text = "{format: onnx, bits: 4, method: awq, block_size: 32, tune: null}"
    assert recipe_line(line) == text


def test_only_python_is_taken_out() -> None:
    text = "```sh\nls\n```\n```python\nx = 1\n```\nwords\n```python\ny = 2\n\nz = 3\n```\n"
    assert extract_snippets(text) == ["x = 1\n", "y = 2\n\nz = 3\n"]
