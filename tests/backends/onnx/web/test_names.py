"""The names, beside transformers.js' own tables: its published package, asked through node."""

import dataclasses
import json
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest

from scripts.backends.onnx.web.names import LAYERS, SUFFIXES, cache_names, data_name, graph_name
from scripts.demo.packages import TRANSFORMERS, fetched
from tests.conftest import Once

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("npm") and shutil.which("node")), reason="npm and node are not installed"
    ),
]
ASK = """
import { DEFAULT_DTYPE_SUFFIX_MAPPING as suffixes } from "SRC/utils/dtypes.js";
import { getExternalDataChunkNames as chunks } from "SRC/utils/model-loader.js";
import { getCacheNames as caches } from "SRC/configs.js";
const kinds = JSON.parse(process.argv[2]);
const asked = Object.entries(kinds).map(([model_type, layers]) => [
  model_type, [...caches({ model_type, [layers]: 3 })],
]);
console.log(JSON.stringify({
  suffixes, chunks: chunks("model_q4.onnx", 3), caches: Object.fromEntries(asked),
}));
"""


@pytest.fixture(scope="module")
def source(once: Once) -> Path:
    """The sources of the pinned package."""
    whole = dataclasses.replace(TRANSFORMERS, files=("src/", "package.json"))
    folder = once("transformers.js", partial(_fetch, whole))
    return folder / whole.folder / "src"


def _fetch(package: object, folder: Path) -> None:
    fetched(package, folder)


@pytest.fixture(scope="module")
def told(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """What the package says of names."""
    script = tmp_path_factory.mktemp("ask") / "ask.mjs"
    script.write_text(ASK.replace("SRC", source.as_uri()))
    done = subprocess.run(
        ["node", str(script), json.dumps(LAYERS)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, dict[str, object]] = json.loads(done.stdout)
    return answer


def test_graphs_have_its_names(told: dict[str, dict[str, object]]) -> None:
    assert SUFFIXES.items() <= told["suffixes"].items()
    assert [graph_name(one) for one in ("q4", "q8", "fp32")] == [
        "model_q4.onnx",
        "model_quantized.onnx",
        "model.onnx",
    ]


def test_data_have_its_names(told: dict[str, dict[str, object]]) -> None:
    assert told["chunks"] == [data_name("model_q4.onnx", number) for number in range(3)]


def test_caches_have_its_names(told: dict[str, dict[str, object]]) -> None:

    assert {kind: set(names) for kind, names in told["caches"].items()} == {
        kind: cache_names(3) for kind in LAYERS
    }


def test_it_knows_every_model_that_is_not_refused(source: Path) -> None:
    registry = (source / "models/registry.js").read_text()
    table = registry.partition("MODEL_MAPPING_NAMES_DECODER_ONLY")[2].partition("]);")[0]
    assert LAYERS.keys() <= set(re.findall(r"\['([\w-]+)', '", table))
