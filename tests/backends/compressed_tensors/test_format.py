"""The folder is what compressed-tensors' own code reads, and holds the codes that were chosen."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationConfig
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from scripts.backends.compressed_tensors.format import CompressedTensors
from scripts.backends.compressed_tensors.gptq import work as gptq_work
from scripts.backends.compressed_tensors.plan import plan
from scripts.backends.compressed_tensors.rounding import layout_for, nearest
from scripts.backends.model import load_model
from scripts.errors import QuantmakeError
from scripts.evaluation.score import measure_size
from scripts.exec import run_stage
from tests.families import make_family
from tests.tiny import tiny_lines

WEIGHTS = "model.safetensors"
SCHEMES = ("W4A16", "W8A16", "W8A8", "FP8_DYNAMIC", "NVFP4A16")
Q = "model.layers.0.self_attn.q_proj.weight"
TEXT = "The ferryman carries nine apples at dawn. Old Agnes hides letters before the rain."


def of(scheme: str, **options: object) -> CompressedTensors:
    return CompressedTensors.model_validate(
        {"format": "compressed-tensors", "scheme": scheme, **options}
    )


def expanded(levels: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """What levels [N, K] with scales [N, blocks] stand for."""
    return levels * scales.repeat_interleave(levels.shape[1] // scales.shape[1], 1)


def decompressed(folder: Path, name: str) -> torch.Tensor:
    """A weight by the package's own code, from the folder's own config.json."""
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    (scheme,) = QuantizationConfig.model_validate(config).config_groups.values()
    compressor = BaseCompressor.get_value_from_registry(scheme.format)
    stem = name.removesuffix("weight")
    state = {
        key.removeprefix(stem): value.float() if value.dtype == torch.float16 else value
        for key, value in load_file(folder / WEIGHTS).items()
        if key.startswith(stem)
    }
    assert set(state) == set(compressor.compression_param_names(scheme))
    weight: torch.Tensor = compressor.decompress(state, scheme)["weight"]
    return weight


def divergence(base: Path, artefact: Path) -> float:
    """KLD from the base over some sentences, nats."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    models = [
        load_model(kind, path, threads=1, context=64)
        for kind, path in (("pytorch", base), ("compressed-tensors", artefact))
    ]
    losses = []
    for line in (TEXT, *tiny_lines(12, seed=7)):
        tokens = tokenizer(line, return_tensors="np")["input_ids"][0]
        want, got = (torch.from_numpy(m.scores(tokens, 0)).log_softmax(-1) for m in models)
        losses.append((want.exp() * (want - got)).sum(-1))
    return float(torch.cat(losses).mean())


@pytest.fixture(scope="module")
def nearest_of(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each scheme of the tiny base, rounded to nearest."""
    root = tmp_path_factory.mktemp("nearest")
    for scheme in SCHEMES:
        run_stage(of(scheme), {"base": tiny_base}, root / scheme)
    return {scheme: root / scheme for scheme in SCHEMES}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_package_unpacks_the_codes_that_were_chosen(
    scheme: str, tiny_base: Path, nearest_of: dict[str, Path]
) -> None:
    stage, base = of(scheme), load_file(tiny_base / WEIGHTS)
    planned = plan(tiny_base, "W8A8", 1, "")
    layout = layout_for(tiny_base, planned, stage)
    assert len(planned.weights) == 21
    for name in planned.weights:
        want = expanded(*nearest(layout, name, base[name].float()))
        got = decompressed(nearest_of[scheme], name)
        assert torch.equal(got, want.to(got.dtype)), name
        assert (got.float() - base[name]).abs().max() < 0.3 * base[name].abs().max()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_package_unpacks_what_gptq_chose(
    scheme: str, tiny_base: Path, tiny_capture: Path, tmp_path: Path
) -> None:
    inputs, stage = {"base": tiny_base, "capture": tiny_capture}, of(scheme, method="gptq")
    run_stage(stage, inputs, tmp_path / "out")
    weight = load_file(tiny_base / WEIGHTS)[Q].float()
    got = decompressed(tmp_path / "out", Q).float()
    rounded = (got - weight).abs().amax(1)
    assert 0 < float(rounded.max()) < float(weight.abs().max())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_stock_transformers_load_it(
    scheme: str, tiny_base: Path, nearest_of: dict[str, Path]
) -> None:
    model = AutoModelForCausalLM.from_pretrained(nearest_of[scheme], dtype=torch.bfloat16)
    tokenizer = AutoTokenizer.from_pretrained(nearest_of[scheme])
    prompt = tokenizer(TEXT, return_tensors="pt", return_token_type_ids=False)
    tokens = model.generate(**prompt, max_new_tokens=4, do_sample=False)
    assert tokens.shape[1] == prompt["input_ids"].shape[1] + 4
    assert 1e-8 < divergence(tiny_base, nearest_of[scheme]) < 0.05


def test_activations_are_rounded_as_the_scheme_says(
    tiny_base: Path, nearest_of: dict[str, Path], tmp_path: Path
) -> None:
    """Without the rounding of activations, the same weights lose less."""
    plain = tmp_path / "plain"
    shutil.copytree(nearest_of["W8A8"], plain)
    config = json.loads((plain / "config.json").read_text())
    (group,) = config["quantization_config"]["config_groups"].values()
    group["input_activations"] = None
    (plain / "config.json").write_text(json.dumps(config))
    assert divergence(tiny_base, plain) < 0.8 * divergence(tiny_base, nearest_of["W8A8"])


def test_config_is_what_llm_compressor_writes(nearest_of: dict[str, Path]) -> None:
    config = json.loads((nearest_of["W4A16"] / "config.json").read_text())["quantization_config"]
    weights = {
        "num_bits": 4,
        "type": "int",
        "symmetric": True,
        "group_size": 128,
        "strategy": "group",
        "dynamic": False,
    }
    (group,) = config["config_groups"].values()
    assert group["weights"] == weights
    assert group["targets"] == ["Linear"]
    assert group["input_activations"] is None
    assert config["quant_method"] == "compressed-tensors"
    assert config["format"] == group["format"] == "pack-quantized"
    assert config["quantization_status"] == "compressed"
    assert config["ignore"] == ["lm_head"]
    others = {name: json.loads((p / "config.json").read_text()) for name, p in nearest_of.items()}
    formats = {name: one["quantization_config"]["format"] for name, one in others.items()}
    assert formats == {
        "W4A16": "pack-quantized",
        "W8A16": "pack-quantized",
        "W8A8": "int-quantized",
        "FP8_DYNAMIC": "float-quantized",
        "NVFP4A16": "nvfp4-pack-quantized",
    }


@pytest.mark.parametrize(
    ("scheme", "options", "share"),
    [
        ("W4A16", {"method": "gptq"}, 0.6),
        ("W4A16", {"method": "awq"}, 0.9),
        ("W8A16", {"method": "gptq"}, 0.8),
        ("NVFP4A16", {"method": "gptq"}, 0.6),
    ],
    ids=str,
)
def test_calibration_loses_less_at_the_same_bytes(
    scheme: str,
    options: dict[str, Any],
    share: float,
    tiny_base: Path,
    tiny_capture: Path,
    nearest_of: dict[str, Path],
    tmp_path: Path,
) -> None:
    inputs = {"base": tiny_base, "capture": tiny_capture}
    run_stage(of(scheme, **options), inputs, tmp_path / "out")
    ours, plain = load_file(tmp_path / "out" / WEIGHTS), load_file(nearest_of[scheme] / WEIGHTS)
    shapes = ({n: (t.dtype, t.shape) for n, t in some.items()} for some in (ours, plain))
    assert next(shapes) == next(shapes)
    config = "config.json"
    assert (tmp_path / "out" / config).read_bytes() == (nearest_of[scheme] / config).read_bytes()
    lost = divergence(tiny_base, tmp_path / "out")
    assert lost < share * divergence(tiny_base, nearest_of[scheme])


@pytest.mark.parametrize(
    ("scheme", "options"),
    [("W4A16", {"method": "gptq"}), ("W4A16", {"method": "awq"}), ("W8A8", {"smooth": True})],
    ids=str,
)
def test_same_bytes_on_any_number_of_cores(
    scheme: str,
    options: dict[str, Any],
    tiny_base: Path,
    tiny_capture: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs, stage = {"base": tiny_base, "capture": tiny_capture}, of(scheme, **options)
    for cores in (1, 3):
        monkeypatch.setattr("scripts.workers.available_cores", lambda count=cores: count)
        run_stage(stage, inputs, tmp_path / str(cores))
    for path in (tmp_path / "1").iterdir():
        assert path.read_bytes() == (tmp_path / "3" / path.name).read_bytes()


def test_shards_stay_shards(tiny_base: Path, nearest_of: dict[str, Path], tmp_path: Path) -> None:
    base = tmp_path / "base"
    AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float16).save_pretrained(
        base, max_shard_size="300KB"
    )
    run_stage(of("NVFP4A16"), {"base": base}, tmp_path / "out")
    shards = sorted((tmp_path / "out").glob("*.safetensors"))
    assert len(shards) > 1
    whole = load_file(nearest_of["NVFP4A16"] / WEIGHTS)
    found = {name: one for shard in shards for name, one in load_file(shard).items()}
    assert found.keys() == whole.keys()
    for name, one in found.items():
        assert one.dtype == whole[name].dtype
        assert torch.equal(one.view(torch.uint8), whole[name].view(torch.uint8)), name


def test_nvfp4_weights_that_vllm_merges_have_one_factor(nearest_of: dict[str, Path]) -> None:
    tensors = load_file(nearest_of["NVFP4A16"] / WEIGHTS)
    for linears in (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj")):
        room = "self_attn" if "q_proj" in linears else "mlp"
        names = [f"model.layers.1.{room}.{one}.weight_global_scale" for one in linears]
        assert len({float(tensors[name]) for name in names}) == 1


def test_group_that_does_not_divide_names_every_weight(tmp_path: Path) -> None:
    base = make_family("llama", tmp_path / "base")  # 64 wide
    (tmp_path / "out").mkdir()
    with pytest.raises(QuantmakeError) as caught:
        of("W4A16").run({"base": base}, tmp_path / "out")
    text = str(caught.value)
    assert text.startswith("group_size 128 does not divide the rows of 24 weights: ")
    assert "model.layers.2.mlp.up_proj.weight (64 wide)" in text
    assert "down_proj" not in text
    assert text.endswith("Set group_size to 64, which divides all of this model.")
    assert not list((tmp_path / "out").iterdir())
    run_stage(of("W4A16", group_size=64), {"base": base}, tmp_path / "smaller")


def test_model_without_a_linear(tmp_path: Path) -> None:
    config = GPT2Config(vocab_size=96, n_embd=64, n_layer=1, n_head=2, n_positions=64)
    GPT2LMHeadModel(config).half().save_pretrained(tmp_path / "base")
    with pytest.raises(QuantmakeError, match="GPT2LMHeadModel has no linear layer that compressed"):
        of("W8A8").run({"base": tmp_path / "base"}, tmp_path / "out")


def test_stacked_experts_are_refused_by_name(tmp_path: Path) -> None:
    base = make_family("gpt-oss", tmp_path / "base")
    text = r"GptOssForCausalLM has its experts in 8 stacked tensors \(model\.layers\.0\.mlp\.expert"
    with pytest.raises(QuantmakeError, match=text):
        of("W8A8").run({"base": base}, tmp_path / "out")


@pytest.mark.parametrize("scheme", ["W8A8", "NVFP4A16"])
def test_schemes_whose_experts_transformers_does_not_load(scheme: str, tmp_path: Path) -> None:
    base = make_family("qwen3-moe", tmp_path / "base")
    with pytest.raises(QuantmakeError) as caught:
        of(scheme).run({"base": base}, tmp_path / "out")
    said = str(caught.value)
    assert said.startswith(
        "transformers holds the experts of Qwen3MoeForCausalLM in stacked tensors "
        "(model.layers.0.mlp.experts.gate_up_proj, "
    )
    assert said.endswith(f"does not load from {scheme}. Take W4A16, W8A16, FP8_DYNAMIC.")


@pytest.mark.parametrize(("scheme", "most"), [("W8A16", 0.001), ("FP8_DYNAMIC", 0.01)])
def test_experts_of_other_schemes(scheme: str, most: float, tmp_path: Path) -> None:
    base = make_family("qwen3-moe", tmp_path / "base")
    stage = of(scheme, **({"group_size": 32} if scheme == "W8A16" else {}))
    run_stage(stage, {"base": base}, tmp_path / "out")
    assert divergence(base, tmp_path / "out") < most


def test_routers_stay_in_float(tmp_path: Path) -> None:
    base = make_family("qwen3-moe", tmp_path / "base")
    run_stage(of("W4A16", group_size=32), {"base": base}, tmp_path / "out")
    config = json.loads((tmp_path / "out/config.json").read_text())["quantization_config"]
    routers = [f"model.layers.{layer}.mlp.gate" for layer in range(4)]
    assert sorted(config["ignore"]) == ["lm_head", *routers]
    tensors = load_file(tmp_path / "out" / WEIGHTS)
    assert tensors[f"{routers[0]}.weight"].dtype == torch.float16
    assert "model.layers.0.mlp.experts.3.down_proj.weight_packed" in tensors
    assert divergence(base, tmp_path / "out") < 0.1


@pytest.mark.parametrize("method", ["rtn", "gptq"])
def test_weights_that_are_not_finite(
    method: str, tiny_base: Path, tiny_capture: Path, tmp_path: Path
) -> None:
    base, out = tmp_path / "base", tmp_path / "out"
    shutil.copytree(tiny_base, base)
    out.mkdir()
    tensors = load_file(base / WEIGHTS)
    tensors["model.layers.1.mlp.up_proj.weight"][0, 5] = torch.nan
    save_file(tensors, base / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(QuantmakeError, match=r"NaN or infinity in model\.layers\.1\.mlp\.up_proj"):
        of("W8A8", method=method).run({"base": base, "capture": tiny_capture}, out)
    assert not list(out.iterdir())


def test_unseen_weights_are_refused_by_gptq(
    tiny_base: Path, tiny_capture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scripts.backends.folding import Folding
    from scripts.calibration.stored import Captured

    names = Captured(tiny_capture).names
    monkeypatch.setattr(Captured, "names", [one for one in names if "o_proj" not in one])
    inputs = {"base": tiny_base, "capture": tiny_capture}
    with pytest.raises(QuantmakeError, match="not seen the inputs of 3 weights: model"):
        gptq_work(inputs, plan(tiny_base, "W8A8", 1, ""), of("W8A8", method="gptq"), Folding())


@pytest.mark.parametrize(
    ("scheme", "options", "text"),
    [
        ("W8A8", {"group_size": 64}, "`group_size` is of W4A16 and W8A16 alone"),
        ("W8A8", {"method": "awq"}, "`method: awq` is of W4A16 and W8A16 alone; take gptq"),
        ("W4A16", {"smooth": True}, "`smooth` is of W8A8 alone"),
        ("W4A16", {"rounds": 5}, "`rounds` says nothing without `method: gptq`"),
    ],
    ids=str,
)
def test_options_that_say_nothing(scheme: str, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        of(scheme, **options)


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"model.norm.weight": None}, "model.norm.weight is missing"),
        ({"model.norm.weight": torch.ones(3)}, "model.norm.weight is F32 [3], not F16 [128]"),
        ({f"{Q}_scale": None}, f"{Q}_scale is missing"),
        ({f"{Q}_packed": torch.ones(128, 2)}, f"{Q}_packed is F32 [128, 2], not I32 [128, 16]"),
        (
            {f"{Q}_scale": torch.full((128, 1), torch.nan).half()},
            f"{Q}_scale is not finite or not above zero",
        ),
    ],
    ids=str,
)
def test_check_finds(
    changed: dict[str, torch.Tensor | None],
    text: str,
    tiny_base: Path,
    nearest_of: dict[str, Path],
    tmp_path: Path,
) -> None:
    shutil.copy(nearest_of["W4A16"] / "config.json", tmp_path)
    tensors = {**load_file(nearest_of["W4A16"] / WEIGHTS), **changed}
    save_file({n: one for n, one in tensors.items() if one is not None}, tmp_path / WEIGHTS)
    with pytest.raises(QuantmakeError) as caught:
        of("W4A16").check({"base": tiny_base}, tmp_path)
    assert str(caught.value) == f"{tmp_path.name} is broken: {text}"


def test_check_reads_the_config_as_the_runtimes_do(
    tiny_base: Path, nearest_of: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(nearest_of["W4A16"], tmp_path / "out")
    with pytest.raises(QuantmakeError, match="says another scheme than W8A16"):
        of("W8A16").check({"base": tiny_base}, tmp_path / "out")
    path = tmp_path / "out/config.json"
    config = json.loads(path.read_text())
    config["quantization_config"]["config_groups"]["group_0"]["weights"]["strategy"] = "blocks"
    path.write_text(json.dumps(config))
    with pytest.raises(QuantmakeError, match="has no quantization_config that compressed-tensors"):
        of("W4A16").check({"base": tiny_base}, tmp_path / "out")


def test_report_says_what_stays(tiny_base: Path, nearest_of: dict[str, Path]) -> None:
    size, notes = measure_size("compressed-tensors", nearest_of["NVFP4A16"], tiny_base)
    assert size.tensor_types == {"F16": 8, "NVFP4": 21}
    assert notes == (
        "The embedding and these linear layers stay in FP16, as llm-compressor has it: lm_head.",
    )


def test_label_needs_and_others() -> None:
    assert of("W4A16").label() == "W4A16 (compressed-tensors)"
    best = of("W8A8", method="gptq", smooth=True)
    assert best.label() == "W8A8 SmoothQuant GPTQ (compressed-tensors)"
    assert best.needed() == ("base", "capture")
    assert of("W8A8").needed() == ("base",)
    assert [one.choice() for one in best.others()] == [of("W8A8").choice()]
