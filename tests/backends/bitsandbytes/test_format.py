"""The folder is what stock transformers writes and loads, tensor by tensor."""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedModel,
)
from transformers.utils import logging

from scripts.backends.bitsandbytes.format import Bitsandbytes4bit
from scripts.errors import QuantmakeError
from scripts.exec import run_stage

WEIGHTS = "model.safetensors"


def bitsandbytes_4bit(**options: object) -> Bitsandbytes4bit:
    return Bitsandbytes4bit.model_validate({"format": "bitsandbytes", **options})


def write_base(folder: Path, kind: str) -> Path:
    """A small untrained model without a tokenizer."""
    torch.manual_seed(0)
    few = {"vocab_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
    models: dict[str, PreTrainedModel] = {
        "untied": LlamaForCausalLM(
            LlamaConfig(hidden_size=128, intermediate_size=192, tie_word_embeddings=False, **few)
        ),
        "gpt2": GPT2LMHeadModel(
            GPT2Config(vocab_size=96, n_embd=64, n_layer=2, n_head=2, n_positions=64)
        ),
        "experts": MixtralForCausalLM(
            MixtralConfig(
                hidden_size=64,
                intermediate_size=128,
                num_key_value_heads=1,
                num_local_experts=4,
                **few,
            )
        ),
        "narrow values": LlamaForCausalLM(
            LlamaConfig(
                hidden_size=64,
                intermediate_size=128,
                num_key_value_heads=1,
                head_dim=16,
                tie_word_embeddings=False,
                **{**few, "num_attention_heads": 4},
            )
        ),
        "narrow": LlamaForCausalLM(
            LlamaConfig(hidden_size=16, intermediate_size=24, num_key_value_heads=2, **few)
        ),
    }
    models[kind].half().save_pretrained(folder)
    return folder


def loaded(folder: Path) -> Any:
    """As the card's snippet does."""
    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return torch.nn.Module.float(model)


@pytest.fixture(scope="module")
def tiny_nf4(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("nf4") / "model-int4"
    run_stage(bitsandbytes_4bit(), {"base": tiny_base}, out)
    return out


@pytest.mark.parametrize("kind", ["tiny", "untied", "gpt2"])
@pytest.mark.parametrize(("quant_type", "double_quant"), [("nf4", True), ("fp4", False)])
def test_tensors_are_those_of_stock_transformers(
    kind: str, quant_type: str, double_quant: bool, tiny_base: Path, tmp_path: Path
) -> None:
    base = tiny_base if kind == "tiny" else write_base(tmp_path / "base", kind)
    stage = bitsandbytes_4bit(quant_type=quant_type, double_quant=double_quant)
    run_stage(stage, {"base": base}, tmp_path / "ours")
    stock = AutoModelForCausalLM.from_pretrained(
        base,
        dtype=torch.float16,
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=quant_type,
            bnb_4bit_use_double_quant=double_quant,
            bnb_4bit_compute_dtype="float32",
        ),
    )
    stock.save_pretrained(tmp_path / "stock")
    ours, theirs = load_file(tmp_path / "ours" / WEIGHTS), load_file(tmp_path / "stock" / WEIGHTS)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    assert any(name.endswith(f".quant_state.bitsandbytes__{quant_type}") for name in ours)


@pytest.mark.parametrize("block_size", [64, 128])
def test_stock_loading_computes_with_the_weights(
    block_size: int, tiny_base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_stage(bitsandbytes_4bit(block_size=block_size), {"base": tiny_base}, tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    prompt = tokenizer("The ferryman carries", return_tensors="pt", return_token_type_ids=False)
    capfd.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = loaded(tmp_path / "out").eval()
        tokens = model.generate(**prompt, max_new_tokens=8, do_sample=False)
    assert capfd.readouterr().err == ""
    assert tokens.shape[1] == prompt["input_ids"].shape[1] + 8
    plain = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32).eval()
    with torch.inference_mode():
        got = model(**prompt).logits.log_softmax(-1)
        want = plain(**prompt).logits.log_softmax(-1)
    divergence = float((want.exp() * (want - got)).sum(-1).mean())
    assert 1e-6 < divergence < 0.05


def test_rows_that_some_processors_refuse_stay_in_float(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", "narrow values")
    run_stage(bitsandbytes_4bit(), {"base": base}, tmp_path / "out")
    tensors = load_file(tmp_path / "out" / WEIGHTS)
    assert tensors["model.layers.0.self_attn.v_proj.weight"].dtype == torch.float16
    assert tensors["model.layers.0.self_attn.q_proj.weight"].dtype == torch.uint8
    skipped = json.loads((tmp_path / "out/config.json").read_text())["quantization_config"]
    assert "model.layers.1.self_attn.v_proj" in skipped["llm_int8_skip_modules"]
    assert "lm_head" in skipped["llm_int8_skip_modules"]
    model = loaded(tmp_path / "out")
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with torch.inference_mode():
        difference = model(torch.arange(5)[None]).logits - plain(torch.arange(5)[None]).logits
    assert float(difference.abs().max()) < 0.1


def test_experts_in_stacked_tensors_are_refused_by_name(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", "experts")
    with pytest.raises(QuantmakeError) as caught:
        run_stage(bitsandbytes_4bit(), {"base": base}, tmp_path / "out")
    said = str(caught.value)
    assert said.startswith(
        "transformers holds the experts of MixtralForCausalLM in 4 stacked tensors "
        "(model.layers.0.mlp.experts.gate_up_proj, model.layers.0.mlp.experts.down_proj, "
    )
    assert said.endswith(
        "for which bitsandbytes has no layer; most of the model would stay in FP16. GGUF quantises "
        "experts: take the artefacts with `format: bitsandbytes` out of the recipe."
    )


def test_transformers_still_leaves_norms_in_half_precision(tiny_nf4: Path) -> None:
    """Once it does not, nothing has to be cast after loading, here and in the card's snippet."""
    model = AutoModelForCausalLM.from_pretrained(tiny_nf4, dtype=torch.float32)
    assert model.model.norm.weight.dtype == torch.float16


def test_shards_stay_shards(tiny_base: Path, tiny_nf4: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float16).save_pretrained(
        base, max_shard_size="300KB"
    )
    run_stage(bitsandbytes_4bit(), {"base": base}, tmp_path / "out")
    shards = sorted((tmp_path / "out").glob("*.safetensors"))
    assert [path.name for path in shards] == sorted(p.name for p in base.glob("*.safetensors"))
    assert len(shards) > 1
    index = json.loads((tmp_path / "out/model.safetensors.index.json").read_text())
    whole = load_file(tiny_nf4 / WEIGHTS)
    assert index["weight_map"].keys() == whole.keys()
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in whole.values())
    for shard in shards:
        for name, tensor in load_file(shard).items():
            assert index["weight_map"][name] == shard.name
            assert torch.equal(tensor, whole[name])
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")


def test_same_bytes_elsewhere_and_no_trace_of_the_folder(
    tiny_base: Path, tiny_nf4: Path, tmp_path: Path
) -> None:
    run_stage(bitsandbytes_4bit(), {"base": tiny_base}, tmp_path / "out")
    assert {path.name for path in tiny_nf4.iterdir()} == {path.name for path in tiny_base.iterdir()}
    for path in tiny_nf4.iterdir():
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()
        assert str(tiny_nf4.parent).encode() not in path.read_bytes()
        if path.name not in (WEIGHTS, "config.json"):
            assert path.read_bytes() == (tiny_base / path.name).read_bytes()
    assert (tiny_nf4 / WEIGHTS).stat().st_mode & 0o777 == 0o644


def test_block_that_does_not_divide_names_every_weight(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(QuantmakeError) as caught:
        bitsandbytes_4bit(block_size=256).run({"base": tiny_base}, tmp_path)
    assert str(caught.value).startswith("block_size 256 does not divide the rows of 18 weights: ")
    assert "model.layers.2.mlp.up_proj.weight (128 wide)" in str(caught.value)
    assert "down_proj" not in str(caught.value)
    assert str(caught.value).endswith("Choose a smaller block_size; 64 divides most models.")
    assert not list(tmp_path.iterdir())


def test_weights_that_are_not_finite(tiny_base: Path, tmp_path: Path) -> None:
    base, out = tmp_path / "base", tmp_path / "out"
    shutil.copytree(tiny_base, base)
    out.mkdir()
    tensors = load_file(base / WEIGHTS)
    tensors["model.layers.1.mlp.up_proj.weight"][0, 5] = torch.nan
    save_file(tensors, base / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(QuantmakeError, match=r"NaN or infinity in model\.layers\.1\.mlp\.up_proj"):
        bitsandbytes_4bit().run({"base": base}, out)
    assert not list(out.iterdir())


def test_model_without_a_linear_that_fits(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base", "narrow")
    with pytest.raises(QuantmakeError, match="LlamaForCausalLM has no linear layer that bitsand"):
        bitsandbytes_4bit().run({"base": base}, tmp_path / "out")


Q = "model.layers.0.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"model.norm.weight": None}, "model.norm.weight is missing"),
        ({"model.norm.weight": torch.ones(3)}, "model.norm.weight has another shape than in"),
        ({f"{Q}.absmax": None}, f"{Q}.absmax is missing"),
        ({f"{Q}.nested_absmax": torch.tensor([torch.nan])}, f"{Q}: absmax is not finite"),
        ({Q: torch.ones(128, 128)}, f"{Q} is torch.float32 × 16384, not uint8 × 8192"),
        (
            {f"{Q}.quant_state.bitsandbytes__nf4": torch.zeros(9, dtype=torch.uint8)},
            f"{Q}: its quantisation state can't be read (",
        ),
    ],
    ids=str,
)
def test_check_finds(
    changed: dict[str, torch.Tensor | None],
    text: str,
    tiny_base: Path,
    tiny_nf4: Path,
    tmp_path: Path,
) -> None:
    tensors = {**load_file(tiny_nf4 / WEIGHTS), **changed}
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, tmp_path / WEIGHTS)
    with pytest.raises(QuantmakeError) as caught:
        bitsandbytes_4bit().check({"base": tiny_base}, tmp_path)
    assert str(caught.value).startswith(f"{tmp_path.name} is broken: {text}")
    assert ";" not in str(caught.value)


def test_check_of_another_block_size(tiny_base: Path, tiny_nf4: Path) -> None:
    with pytest.raises(QuantmakeError, match="state is of another tensor or block size"):
        bitsandbytes_4bit(block_size=128).check({"base": tiny_base}, tiny_nf4)


def test_check_of_a_cut_file(tiny_base: Path, tiny_nf4: Path, tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_bytes((tiny_nf4 / WEIGHTS).read_bytes()[:5000])
    text = r"model\.safetensors can't be read .* is missing; nothing is quantised$"
    with pytest.raises(QuantmakeError, match=text):
        bitsandbytes_4bit().check({"base": tiny_base}, tmp_path)


def test_label() -> None:
    assert bitsandbytes_4bit().label() == "INT4 NF4 (bitsandbytes)"
    found = bitsandbytes_4bit(quant_type="fp4", method="gptq").label()
    assert found == "INT4 FP4 GPTQ (bitsandbytes)"
