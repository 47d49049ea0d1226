"""mlx-lm runs the folders, in a process of its own whose end is told."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from scripts.backends.mlx import check, gate, runner
from scripts.backends.mlx.families import FAMILIES
from scripts.backends.mlx.formats.rtn import MlxRtn
from scripts.backends.model import load_model
from scripts.base.make_base import Base
from scripts.errors import MachineError, QuantmakeError
from scripts.exec import run_stage
from tests.backends.mlx.test_formats import TOKENS, restored
from tests.backends.mlx.test_packing import PYTHON, needs_mlx
from tests.families import make_family
from tests.onnx_models import torch_logits

pytestmark = pytest.mark.slow
RTN = MlxRtn(format="mlx", bits=4, method="rtn", group_size=32, overrides={"down_proj": 3})


@pytest.fixture(scope="module")
def artefact(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built and checked with MLX: its float model is compared with the base first."""
    out = tmp_path_factory.mktemp("mlx") / "model"
    run_stage(RTN, {"base": tiny_base}, out)
    return out


@needs_mlx
def test_logits_are_those_of_the_values_through_the_cache(
    artefact: Path, tiny_base: Path, tmp_path: Path
) -> None:
    wanted = torch_logits(restored(artefact, tiny_base, tmp_path / "values"), TOKENS)
    model: Any = load_model("mlx", artefact, threads=2, context=128)
    np.testing.assert_allclose(model.scores(TOKENS, 0), wanted, atol=1e-3)
    steps = [model.prefill(TOKENS[:40]), *(model.decode(int(one)) for one in TOKENS[40:])]
    np.testing.assert_allclose(steps, wanted[39:], atol=1e-3)
    parts = [model.extend(TOKENS[:9], anew=True), model.extend(TOKENS[9:])]
    np.testing.assert_allclose(np.concatenate(parts), wanted, atol=1e-3)
    assert model.peak_rss_bytes() > 5e7


@needs_mlx
def test_stock_mlx_lm_loads_it_and_writes(artefact: Path) -> None:
    code = (
        "import sys; from mlx_lm import load, generate; model, tokenizer = load(sys.argv[1])\n"
        "print(type(model.model.embed_tokens).__name__, model.model.layers[0].mlp.down_proj.bits)\n"
        "print(generate(model, tokenizer, prompt='The miller', max_tokens=4))"
    )
    done = subprocess.run(
        [str(PYTHON), "-I", "-c", code, str(artefact)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "QuantizedEmbedding 3"
    assert len(done.stdout.splitlines()) > 1


FAMILIES_HERE = {
    *("llama3", "qwen2", "qwen3", "qwen3-moe", "mistral", "mistral-window", "mixtral", "gemma2"),
    *("gemma3", "phi", "phi3", "smollm3", "granite", "olmo2", "olmo3", "stablelm"),
    *("starcoder2", "cohere", "gemma4", "ministral3"),
}
"""Of tests/families.py those that mlx-lm knows."""
UNTESTED = {"olmoe", "qwen2_moe"}
"""Named as qwen3_moe is."""


_BY_MLX = """
import sys; sys.path.insert(0, sys.argv[1])
import mlx.core as mx, numpy as np, runner
from mlx_lm.utils import load_model
runner.multiply_by_numpy()
tokens, out = mx.array(np.arange(3, 23))[None], {}
for folder in sys.argv[3:]:
    model, _ = load_model(__import__("pathlib").Path(folder))
    model.set_dtype(mx.float32)
    out[folder] = np.array(model(tokens)[0])
np.savez(sys.argv[2], **out)
"""


@needs_mlx
def test_families_load_by_mlx_lm_s_names_and_predict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (check, gate):
        monkeypatch.setattr(module, "is_absent", lambda: True)  # all are loaded by one process
    stage, kinds = MlxRtn(format="mlx", bits=8, method="rtn", group_size=32), set()
    for family in FAMILIES_HERE:
        base, source = tmp_path / family, make_family(family, tmp_path / f"{family}-source")
        run_stage(Base(), {"source": source}, base)
        kinds.add(json.loads((base / "config.json").read_text())["model_type"])
        run_stage(stage, {"base": base}, tmp_path / f"{family}-mlx")
    assert kinds | UNTESTED == set(FAMILIES)
    folders = {family: str(tmp_path / f"{family}-mlx") for family in FAMILIES_HERE}
    places = [str(Path(runner.__file__).parent), str(tmp_path / "out.npz"), *folders.values()]
    subprocess.run([str(PYTHON), "-I", "-c", _BY_MLX, *places], check=True, timeout=300)
    out, far = np.load(tmp_path / "out.npz"), {}
    for family, folder in folders.items():
        wanted = torch_logits(tmp_path / family, TOKENS[:20])  # within all windows
        error = (out[folder] - wanted).std() / wanted.std()
        far |= {family: error} if error > 0.1 else {}
    assert not far


@needs_mlx
def test_base_that_mlx_lm_computes_otherwise_is_refused(tmp_path: Path) -> None:
    """mlx-lm takes Mistral for a Llama, and does not see its sliding window."""
    base = make_family("mistral-window", tmp_path / "base")
    with pytest.raises(QuantmakeError) as caught:
        run_stage(RTN, {"base": base}, tmp_path / "out")
    said = str(caught.value)
    assert said.startswith("FP16 base (MLX) does not predict what the base does: logits differ by")
    assert "it begins at token 24, beyond the sliding window of 24" in said
    assert not any((tmp_path / "out").iterdir())


@needs_mlx
def test_folder_that_mlx_lm_does_not_load_is_told(artefact: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(artefact, tmp_path / "broken")
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(QuantmakeError) as caught:
        load_model("mlx", folder, threads=1, context=64)
    assert str(caught.value) == (
        f"{folder} does not load (mlx): ValueError: Missing 1 parameters: \nmodel.norm.weight."
    )


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """A function that puts Python code in the place of MLX's interpreter."""
    from scripts import extras

    monkeypatch.setattr(extras, "environment_python", lambda _: tmp_path / "python")
    monkeypatch.delitem(sys.modules, "scripts.backends.mlx.loader", raising=False)

    def put(code: str) -> None:
        script = tmp_path / "python"
        script.write_text(f"#!{sys.executable}\nimport os, sys, time\n{code}\n")
        script.chmod(0o755)

    return put


LOADED = r"sys.stdout.buffer.write(bytes([0] * 4 + [1] + [0] * 3)); sys.stdout.flush()"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("os.kill(os.getpid(), 9)", "ended by SIGKILL, and said nothing"),
        ("sys.exit('no such library')", "ended with code 1:\n  | no such library"),
        (
            "print('out of\\nmemory', file=sys.stderr); os.abort()",
            "ended by SIGABRT:\n  | out of\n  | memory",
        ),
    ],
    ids=["killed", "exit", "abort"],
)
def test_process_that_dies_while_it_loads(
    code: str, said: str, stand_in: Callable[[str], None], tmp_path: Path
) -> None:
    stand_in(code)
    with pytest.raises(QuantmakeError) as caught:
        load_model("mlx", tmp_path, threads=1, context=64)
    assert str(caught.value) == (
        f"{tmp_path} does not load (mlx): the process of mlx-lm was {said}"
    ).replace("was ended with", "ended with")


def test_process_that_dies_at_work(stand_in: Callable[[str], None], tmp_path: Path) -> None:
    stand_in(
        f"{LOADED}\nsys.stdin.buffer.read(9)\nprint('Killed', file=sys.stderr)\n"
        "sys.stdout.buffer.write(b'half'); sys.exit(7)"
    )
    model = load_model("mlx", tmp_path, threads=1, context=64)
    for _ in range(2):  # what is asked of it afterwards, too
        with pytest.raises(QuantmakeError) as caught:
            model.prefill(np.arange(4))
        assert str(caught.value) == (
            f"{tmp_path}: the process of mlx-lm ended with code 7:\n  | Killed"
        )


def test_process_ends_with_its_model(stand_in: Callable[[str], None], tmp_path: Path) -> None:
    stand_in(f"{LOADED}\nsys.stdin.buffer.read()")
    model: Any = load_model("mlx", tmp_path, threads=1, context=64)
    pid = model._child.pid
    os.kill(pid, 0)
    del model
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


def test_environment_that_is_not_set_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from scripts import extras

    monkeypatch.setattr(extras, "missing", list)
    monkeypatch.delitem(sys.modules, "scripts.backends.mlx.loader", raising=False)
    with pytest.raises(MachineError) as caught:
        load_model("mlx", tmp_path, threads=1, context=64)
    assert str(caught.value) == (
        f"{tmp_path} needs the runtime of mlx, which can't be imported "
        f"({extras.environment_folder('mlx').name} has no mlx, mlx-lm); install it with "
        "python3.11 -m scripts.setup --extra mlx"
    )
