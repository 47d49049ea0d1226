"""A base from a Hugging Face folder."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import dynamic_module_utils

from scripts.base.make_base import Base
from scripts.errors import QuantmakeError
from tests.base.models import write_model


def make(source: Path, out: Path, **options: object) -> Path:
    out.mkdir()
    stage = Base.model_validate(options)
    stage.run({"source": source}, out)
    stage.check({"source": source}, out)
    return out


@pytest.fixture
def source(tiny_base: Path, tmp_path: Path) -> Path:
    """A copy of the tiny base that a test may break."""
    return Path(shutil.copytree(tiny_base, tmp_path / "source"))


@pytest.fixture
def sharded(tiny_base: Path, tmp_path: Path) -> Path:
    """A model in several shards with an index."""
    return write_model(tmp_path / "sharded", "llama", tiny_base, max_shard_size="150KB")


def refused(source: Path, tmp_path: Path) -> str:
    with pytest.raises(QuantmakeError) as error:
        make(source, tmp_path / "out")
    return str(error.value)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_every_float_becomes_fp16(dtype: str, tiny_base: Path, tmp_path: Path) -> None:
    source = write_model(tmp_path / "model", "llama", tiny_base, dtype=dtype)
    out = make(source, tmp_path / "out")
    before, after = (load_file(folder / "model.safetensors") for folder in (source, out))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name].half(), after[name]) for name in before)


def test_two_runs_give_the_same_bytes_and_no_names(source: Path, tmp_path: Path) -> None:
    folders = [make(source, tmp_path / name, off_grid=3) for name in ("one", "two")]
    one, two = (
        {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}
        for folder in folders
    )
    assert one == two
    assert "_name_or_path" not in (folders[0] / "config.json").read_text()
    assert (folders[0] / "chat_template.jinja").is_file()


def test_shards_are_joined(sharded: Path, tmp_path: Path) -> None:
    assert len(list(sharded.glob("*.safetensors"))) > 2
    out = make(sharded, tmp_path / "out")
    joined = load_file(out / "model.safetensors")
    for shard in sharded.glob("*.safetensors"):
        for name, tensor in load_file(shard).items():
            assert torch.equal(joined[name], tensor.half())


def test_a_tied_head_that_is_stored_all_the_same_is_left_out(source: Path, tmp_path: Path) -> None:
    tensors = load_file(source / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, source / "model.safetensors")
    out = make(source, tmp_path / "out")
    assert "lm_head.weight" not in load_file(out / "model.safetensors")


def test_names_without_their_first_part_are_understood(tiny_base: Path, tmp_path: Path) -> None:
    sizes = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128}
    source = write_model(tmp_path / "gpt2", "gpt2", tiny_base, **sizes)
    tensors = load_file(source / "model.safetensors")
    bare = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    bare["h.0.attn.bias"] = torch.ones(1, 1, 4, 4)
    save_file(bare, source / "model.safetensors")
    out = make(source, tmp_path / "out")
    assert load_file(out / "model.safetensors").keys() == tensors.keys()


def test_a_missing_shard_is_named(sharded: Path, tmp_path: Path) -> None:
    shard = sorted(sharded.glob("*.safetensors"))[1]
    shard.unlink()
    assert refused(sharded, tmp_path) == (
        f"model.safetensors.index.json names shards that are missing: {shard.name}; fetch the "
        "source again"
    )


def _edit_index(folder: Path, **places: str | None) -> None:
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    for name, file in places.items():
        index["weight_map"].pop(name, None)
        if file is not None:
            index["weight_map"][name] = file
    path.write_text(json.dumps(index))


def test_an_index_that_names_a_tensor_in_no_shard_or_not_at_all(
    sharded: Path, tmp_path: Path
) -> None:
    shard = sorted(path.name for path in sharded.glob("*.safetensors"))[0]
    _edit_index(sharded, **{"model.norm.weight": None, "ghost": shard})
    said = refused(sharded, tmp_path)
    assert said.startswith(
        "model.safetensors.index.json and the shards disagree about 2 tensors: ghost (index: "
        f"{shard}, found in: no shard); model.norm.weight (index: not named, found in: model-"
    )


def test_an_index_that_names_a_tensor_twice(sharded: Path, tmp_path: Path) -> None:
    path = sharded / "model.safetensors.index.json"
    text = path.read_text()
    line = next(line for line in text.splitlines() if "model.norm.weight" in line)
    path.write_text(text.replace(line, f"{line.rstrip(',')},\n{line}"))
    assert refused(sharded, tmp_path) == (
        "model.safetensors.index.json names these tensors twice: model.norm.weight"
    )


def test_an_index_that_leaves_the_folder(sharded: Path, tmp_path: Path) -> None:
    _edit_index(sharded, **{"model.norm.weight": "../x.safetensors"})
    assert refused(sharded, tmp_path) == (
        "model.safetensors.index.json names files outside the folder: ../x.safetensors"
    )


def test_an_index_without_a_map(sharded: Path, tmp_path: Path) -> None:
    (sharded / "model.safetensors.index.json").write_text("{}")
    assert refused(sharded, tmp_path) == (
        "model.safetensors.index.json has no readable weight_map: KeyError('weight_map')"
    )


def test_a_tensor_in_two_files(source: Path, tmp_path: Path) -> None:
    save_file({"model.norm.weight": torch.ones(128)}, source / "more.safetensors")
    assert refused(source, tmp_path) == (
        "these tensors are in two files of the source: model.norm.weight"
    )


@pytest.mark.parametrize("kept", [6, 100, 50_000])
def test_truncated_weights_are_told(kept: int, source: Path, tmp_path: Path) -> None:
    path = source / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    said = refused(source, tmp_path)
    assert said.startswith(f"model.safetensors is damaged or cut short ({kept:,} bytes: ")


def test_missing_unknown_and_misshaped_tensors_are_all_named(source: Path, tmp_path: Path) -> None:
    tensors = load_file(source / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    tensors["model.norm.weight"] = torch.ones(64)
    tensors["extra"] = torch.ones(2)
    save_file(tensors, source / "model.safetensors")
    assert refused(source, tmp_path) == (
        "the tensors of the source are not those that config.json describes (3 differences): "
        "missing: model.layers.1.mlp.up_proj.weight; unknown: extra; model.norm.weight is [64] "
        "and should be [128]. The configuration belongs to another model, or the weights are "
        "incomplete."
    )


def test_weights_that_are_no_floats_are_named(source: Path, tmp_path: Path) -> None:
    tensors = load_file(source / "model.safetensors")
    tensors["model.norm.weight"] = torch.ones(128, dtype=torch.int8)
    save_file(tensors, source / "model.safetensors")
    assert refused(source, tmp_path) == (
        "these tensors are stored in a type that is no plain float: model.norm.weight (I8); name "
        "a source in F64, F32, F16, BF16"
    )


def test_a_missing_tokenizer_is_told(source: Path, tmp_path: Path) -> None:
    (source / "tokenizer.json").unlink()
    assert refused(source, tmp_path).startswith(
        "the source has no tokenizer: there is none of tokenizer.json, tokenizer.model, "
    )


def test_a_missing_configuration_is_told(source: Path, tmp_path: Path) -> None:
    (source / "config.json").unlink()
    assert refused(source, tmp_path) == "the source has no config.json"


def test_a_configuration_that_can_not_be_built_is_told(source: Path, tmp_path: Path) -> None:
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "hidden_act": "no-such"}))
    assert refused(source, tmp_path).startswith(
        "config.json describes no model that transformers can build: "
    )


def test_heads_of_an_odd_width_are_told(source: Path, tmp_path: Path) -> None:
    config = json.loads((source / "config.json").read_text())
    config |= {"hidden_size": 100, "num_attention_heads": 4, "head_dim": 25}
    (source / "config.json").write_text(json.dumps(config))
    said = refused(source, tmp_path)
    assert said.startswith(
        "config.json: the heads are 25 wide (hidden_size 100, num_attention_heads 4), but rotary "
    )


def test_a_tokenizer_of_another_model_is_told(source: Path, tmp_path: Path) -> None:
    path = source / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    first = tokenizer["added_tokens"][0]
    more = range(len(tokenizer["model"]["vocab"]), 513)
    tokenizer["added_tokens"] += [{**first, "id": n, "content": f"<{n}>"} for n in more]
    path.write_text(json.dumps(tokenizer))
    assert refused(source, tmp_path) == (
        "the tokenizer has the id 512, but the model's embedding has 512 rows; the tokenizer "
        "belongs to another model"
    )


def test_a_broken_tokenizer_is_told(source: Path, tmp_path: Path) -> None:
    (source / "tokenizer.json").write_text("{}")
    assert refused(source, tmp_path).startswith("transformers can't read the model's tokenizer: ")


OWN_CODE = """
import pathlib
from transformers import LlamaConfig, LlamaForCausalLM

pathlib.Path({ran!r}).touch()


class OwnConfig(LlamaConfig):
    model_type = "own"


class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig
"""


@pytest.fixture
def own(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that brings its own code, which leaves the file `ran` where it runs."""
    config = json.loads((source / "config.json").read_text())
    classes = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnForCausalLM"}
    config |= {"model_type": "own", "architectures": ["OwnForCausalLM"], "auto_map": classes}
    (source / "config.json").write_text(json.dumps(config))
    (source / "own.py").write_text(OWN_CODE.format(ran=str(tmp_path / "ran")))
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    return source


def test_the_models_own_code_does_not_run_unasked(own: Path, tmp_path: Path) -> None:
    assert "running the code that the model brings along (auto_map) is off" in refused(
        own, tmp_path
    )
    assert not (tmp_path / "ran").exists()


def test_the_models_own_code_runs_where_it_is_trusted(own: Path, tmp_path: Path) -> None:
    out = make(own, tmp_path / "out", trust_remote_code=True)
    assert (tmp_path / "ran").exists()
    assert (out / "own.py").is_file()
    tensors = load_file(own / "model.safetensors")
    assert load_file(out / "model.safetensors").keys() == tensors.keys()


def test_a_known_models_code_is_left_behind(source: Path, tmp_path: Path) -> None:
    config = json.loads((source / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "own.OwnConfig"}
    (source / "config.json").write_text(json.dumps(config))
    (source / "own.py").write_text("raise SystemExit")
    out = make(source, tmp_path / "out")
    assert not (out / "own.py").exists()
    assert "auto_map" not in (out / "config.json").read_text()


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_of_another_repository_is_refused_though_the_models_own_is_trusted(
    name: str, own: Path, tmp_path: Path
) -> None:
    path = own / name
    config = json.loads(path.read_text())
    config["auto_map"] = {"AutoTokenizer": [None, "someone/else--brought.Tokenizer"]}
    path.write_text(json.dumps(config))
    with pytest.raises(QuantmakeError) as caught:
        make(own, tmp_path / "out", trust_remote_code=True)
    assert str(caught.value).startswith(
        f"{name}: auto_map names code of another repository (someone/else--brought.Tokenizer), "
    )
