"""The base in F16: llama.cpp's own bytes, the same everywhere, and clear words where it fails."""

import json
import re
import shutil
from pathlib import Path

import numpy
import pytest
from gguf import GGUFReader
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from scripts.backends.gguf.f16 import F16Gguf, known_pre_tokenizers
from scripts.base.make_base import Base
from scripts.engine.build.sources import source_digests
from scripts.errors import MachineError, QuantmakeError, RecipeError
from scripts.exec import run_stage
from tests.families import make_family

pytestmark = pytest.mark.slow  # the converter runs in a process of its own


def copy_base(base: Path, folder: Path, **config: object) -> Path:
    """A copy of the base with other values in its config.json."""
    shutil.copytree(base, folder)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    return folder


def fake_toolchain(folder: Path, converter: str) -> Path:
    """A toolchain whose converter is `converter`."""
    folder.mkdir()
    (folder / "convert_hf_to_gguf.py").write_text(converter)
    (folder / "conversion").mkdir()
    (folder / "conversion/base.py").write_text("class ModelBase: ...\n")
    return folder


def test_values_are_those_of_the_base(tiny_base: Path, tiny_f16: Path) -> None:
    with safe_open(tiny_base / "model.safetensors", "np") as weights:
        embedding = weights.get_tensor("model.embed_tokens.weight")
        down = weights.get_tensor("model.layers.2.mlp.down_proj.weight")
        count = len(weights.keys())
    tensors = {tensor.name: tensor for tensor in GGUFReader(tiny_f16).tensors}
    assert len(tensors) == count
    numpy.testing.assert_array_equal(tensors["token_embd.weight"].data, embedding)
    numpy.testing.assert_array_equal(tensors["blk.2.ffn_down.weight"].data, down)


def test_same_bytes_from_another_folder_and_no_trace_of_it(
    tiny_base: Path,
    tiny_f16: Path,
    toolchain: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    base = copy_base(tiny_base, tmp_path / "Zebra-7B-Chat-v2")
    shutil.copyfile(tiny_base / "config.json", base / "config.json")
    before = sorted(toolchain.rglob("*"))
    out = tmp_path / "there" / "out.gguf"
    out.parent.mkdir()
    run_stage(F16Gguf(tokenizer_pre="smollm"), {"base": base, "toolchain": toolchain}, out)
    assert out.read_bytes() == tiny_f16.read_bytes()
    assert [path.name for path in out.parent.iterdir()] == ["out.gguf"]
    assert sorted(toolchain.rglob("*")) == before


@pytest.mark.parametrize("trusted", [True, False])
def test_code_of_the_model_runs_only_where_the_base_holds_it(
    trusted: bool, tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = copy_base(tiny_base, tmp_path / "base")
    settings = json.loads((base / "tokenizer_config.json").read_text())
    settings["auto_map"] = {"AutoTokenizer": [None, "brought.Tokenizer"]}
    (base / "tokenizer_config.json").write_text(json.dumps(settings))
    if trusted:  # the base is made with Python code where the recipe trusts it
        (base / "brought.py").write_text("print('brought code runs')\n")
    script = (
        "import sys; from transformers import AutoTokenizer\n"
        "tokenizer = AutoTokenizer.from_pretrained(sys.argv[-1], trust_remote_code=True)\n"
        "print(tokenizer.decode([1]))\n"
        "open(sys.argv[6], 'w').close()\n"
    )
    inputs = {"base": base, "toolchain": fake_toolchain(tmp_path / "tools", script)}
    if trusted:
        with pytest.raises(QuantmakeError, match="has no attribute 'Tokenizer'"):
            F16Gguf().run(inputs, tmp_path / "x.gguf")
        assert "brought code runs\n" in capsys.readouterr().out
    else:
        F16Gguf().run(inputs, tmp_path / "x.gguf")
        assert "<|im_start|>\n" in capsys.readouterr().out


def test_unknown_tokenizer(tiny_base: Path, toolchain: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        F16Gguf().run({"base": tiny_base, "toolchain": toolchain}, tmp_path / "x.gguf")
    assert "llama.cpp does not recognise the model's tokenizer" in str(caught.value)
    assert "Set `tokenizer_pre` under `model` in the recipe" in str(caught.value)
    assert ", smollm, " in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_misspelt_tokenizer_pre(tiny_base: Path, toolchain: Path, tmp_path: Path) -> None:
    inputs = {"base": tiny_base, "toolchain": toolchain}
    text = r"is 'smolm', which llama\.cpp does not know\. Did you mean 'smollm'\? The names are "
    with pytest.raises(RecipeError, match=text):
        run_stage(F16Gguf(tokenizer_pre="smolm"), inputs, tmp_path / "x.gguf")


def test_unknown_architecture(tiny_base: Path, toolchain: Path, tmp_path: Path) -> None:
    base = copy_base(tiny_base, tmp_path / "base", architectures=["NobodyForCausalLM"])
    text = "does not know the architecture NobodyForCausalLM .*take the artefacts with .*gguf"
    with pytest.raises(QuantmakeError, match=text):
        F16Gguf().run({"base": base, "toolchain": toolchain}, tmp_path / "x.gguf")


@pytest.mark.parametrize(
    ("said", "kind", "text"),
    [
        ("KeyError: 'rope'", QuantmakeError, "failed on this model (LlamaForCausalLM): KeyError"),
        ("", QuantmakeError, "(LlamaForCausalLM): it said nothing. The task's log"),
        ("OSError: No space left on device", MachineError, "no room left on the disk while"),
    ],
)
def test_converter_fails(
    said: str, kind: type[QuantmakeError], text: str, tiny_base: Path, tmp_path: Path
) -> None:
    script = f"import sys; open(sys.argv[6], 'w').close(); sys.exit({said!r})"
    base = copy_base(tiny_base, tmp_path / "base")
    (base / "trusted.py").touch()  # saves the driver the import of transformers
    inputs = {"base": base, "toolchain": fake_toolchain(tmp_path / "tools", script)}
    with pytest.raises(kind, match=re.escape(text)) as caught:
        F16Gguf().run(inputs, tmp_path / "x.gguf")
    assert type(caught.value) is kind
    assert not (tmp_path / "x.gguf").exists()


def test_file_that_llama_cpp_cannot_load(tiny_base: Path, tiny_f16: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny_f16.read_bytes()[:300_000])
    text = "llama.cpp can't load the F16 file made of the base: .*not within the file bounds"
    with pytest.raises(QuantmakeError, match=text):
        F16Gguf().check({"base": tiny_base}, cut)


def test_weights_left_out(tiny_base: Path, tiny_f16: Path, tmp_path: Path) -> None:
    base = copy_base(tiny_base, tmp_path / "base")
    tensors = load_file(base / "model.safetensors")
    before = sum(tensor.size for tensor in tensors.values())
    save_file(tensors | {"extra": numpy.ones((3, 5), "float16")}, base / "model.safetensors")
    text = f"the base has {before + 15:,} values, tiny.gguf has {before:,}"
    with pytest.raises(QuantmakeError, match=text):
        F16Gguf().check({"base": base}, tiny_f16)


def test_known_pre_tokenizers(toolchain: Path) -> None:
    assert {"smollm", "llama-bpe", "qwen2", "gpt-2"} < {*known_pre_tokenizers(toolchain)}


def test_driver_of_the_converter_is_in_the_key() -> None:
    assert "scripts.backends.gguf.driver" in source_digests(F16Gguf.__module__)
    assert source_digests("scripts.lean") == {}  # which the driver loads too


@pytest.mark.parametrize("family", ["qwen3.5", "gemma4", "granite-hybrid", "deepseek-v3"])
def test_families_as_transformers_5_writes_them(
    family: str, toolchain: Path, tmp_path: Path
) -> None:
    """What the converter can't know of them is said to it; the check compares predictions."""
    make_family(family, tmp_path / "source")
    run_stage(Base(), {"source": tmp_path / "source"}, tmp_path / "base")
    inputs = {"base": tmp_path / "base", "toolchain": toolchain}
    run_stage(F16Gguf(tokenizer_pre="smollm"), inputs, tmp_path / "f16.gguf")
