"""The folder is what mlx-lm writes and loads, and every method keeps the predictions close."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from scripts.backends.mlx import check, gate
from scripts.backends.mlx.families import FAMILIES
from scripts.backends.mlx.formats.gptq import MlxGptq
from scripts.backends.mlx.formats.rtn import MlxRtn
from scripts.backends.mlx.packing import unpack
from scripts.backends.mlx.plan import plan
from scripts.errors import QuantmakeError, RecipeError
from scripts.evaluation.score import measure_size
from scripts.exec import run_stage
from scripts.forecast import Forecast, Outline
from scripts.methods.affine import Affine
from scripts.tensors.header import tensors_in
from tests.cases import Case, choices
from tests.families import make_family
from tests.onnx_models import divergence, torch_logits

case_of = partial(Case, "mlx")
TOKENS = np.arange(3, 67, dtype=np.int64)
Q = "model.layers.0.self_attn.q_proj"
EMBEDDING = "model.embed_tokens"


def types(bits: int, head: int = 8) -> dict[str, int]:
    """Of 21 linears and a tied embedding; 7 norms stay."""
    return {"F16": 7, **{f"INT{one}": 21 * (one == bits) + (one == head) for one in (bits, head)}}


CASES = [
    *(case_of(f"{bits}-rtn", most, types(bits)) for bits, most in ((3, 1), (5, 0.03), (6, 0.01))),
    case_of("2-rtn", 5, types(2, 3), {"head_bits": 3, "group_size": 32}),
    case_of("4-rtn", 0.1, types(4)),
    case_of("8-rtn", 2e-3, types(8), {"group_size": 128}),
    *(case_of(f"{bits}-gptq", most, types(bits)) for bits, most in ((2, 2), (3, 0.2), (5, 0.01))),
    case_of(
        "4-gptq",
        0.05,
        {"F16": 7, "INT4": 17, "INT6": 4, "INT8": 1},
        {"overrides": {"down_proj": 6, "layers.1.self_attn.q_proj": 6}},
    ),
    *(case_of(f"{bits}-gptq", 2e-3, types(bits)) for bits in (6, 8)),
    *(case_of(f"{bits}-awq", most, types(bits)) for bits, most in ((2, 4), (3, 0.5), (4, 0.08))),
    *(case_of(f"{bits}-awq", 0.02, types(bits)) for bits in (5, 6, 8)),
]


@pytest.fixture(scope="module", autouse=True)
def alone() -> Iterator[None]:
    """Without MLX, whose process takes seconds: `test_runtime` has it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate, "is_absent", lambda: True)
        patch.setattr(check, "is_absent", lambda: True)
        yield


@pytest.fixture(scope="module")
def inputs(tiny_base: Path, tiny_capture: Path) -> dict[str, Path]:
    return {"base": tiny_base, "capture": tiny_capture}


@pytest.fixture(scope="module")
def built(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An artefact for each case, by its name."""
    root, made = tmp_path_factory.mktemp("mlx"), {}
    for case in CASES:
        made[str(case)] = root / str(case)
        run_stage(case.stage(), inputs, made[str(case)])
    return made


def restored(folder: Path, base: Path, out: Path) -> Path:
    """The base with the values that an artefact's codes stand for, in float32."""
    said = json.loads((folder / "config.json").read_text())["quantization"]
    stored, tensors = load_file(folder / "model.safetensors"), load_file(base / "model.safetensors")
    for name in tensors:
        stem = name.removesuffix(".weight")
        tensors[name] = stored[name].float()
        if f"{stem}.scales" in stored:
            own = said.get(stem, said)
            codes = torch.from_numpy(unpack(stored[name].numpy(), own["bits"])).float()
            scales, biases = (
                stored[f"{stem}.{part}"].float().repeat_interleave(own["group_size"], 1)
                for part in ("scales", "biases")
            )
            tensors[name] = codes * scales + biases
    shutil.copytree(base, out)
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    return out


def test_every_format_is_among_the_cases() -> None:
    assert {case.name for case in CASES} == set(choices("mlx"))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_predictions_stay_close(
    case: Case, built: dict[str, Path], tiny_base: Path, tmp_path: Path
) -> None:
    values = restored(built[str(case)], tiny_base, tmp_path / "values")
    wanted, got = torch_logits(tiny_base, TOKENS), torch_logits(values, TOKENS)
    assert 0 < divergence(wanted, got) < case.most


@pytest.mark.parametrize("case", CASES, ids=str)
def test_inventory_counts_what_is_stored(
    case: Case, built: dict[str, Path], tiny_base: Path
) -> None:
    folder = built[str(case)]
    size, notes = measure_size("mlx", folder, tiny_base)
    assert size.tensor_types == case.types
    assert notes == ()
    weights = (folder / "model.safetensors").stat().st_size
    assert size.bits_per_weight == pytest.approx(8 * weights / size.parameters)


def test_methods_lose_less_than_rounding_to_nearest(
    built: dict[str, Path], tiny_base: Path, tmp_path: Path
) -> None:
    wanted, lost = torch_logits(tiny_base, TOKENS), {}
    for method in ("rtn", "gptq", "awq"):
        values = restored(built[f"3-{method}"], tiny_base, tmp_path / method)
        lost[method] = divergence(wanted, torch_logits(values, TOKENS))
    assert lost["gptq"] < 0.6 * lost["rtn"]
    assert lost["awq"] < lost["rtn"]


def test_config_and_index_are_mlx_lm_s(built: dict[str, Path], tiny_base: Path) -> None:
    mixed = next(case for case in CASES if case.options.get("overrides"))
    folder = built[str(mixed)]
    config = json.loads((folder / "config.json").read_text())
    usual = {"group_size": 64, "bits": 4, "mode": "affine"}
    assert config["quantization"] == {
        **usual,
        EMBEDDING: {**usual, "bits": 8},
        "model.layers.1.self_attn.q_proj": {**usual, "bits": 6},
        **{f"model.layers.{n}.mlp.down_proj": {**usual, "bits": 6} for n in range(3)},
    }
    assert config["quantization_config"] == config["quantization"]
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert index["weight_map"].keys() == tensors_in(folder).keys()
    stored = load_file(folder / "model.safetensors")
    assert {str(stored[f"{Q}.{part}"].dtype) for part in ("weight", "scales", "biases")} == {
        *("torch.uint32", "torch.float16")
    }
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (folder / name).read_bytes() == (tiny_base / name).read_bytes()


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_groups_have_no_more_error_than_least_squares_leaves(bits: int) -> None:
    weight = torch.randn(9, 128, generator=torch.Generator().manual_seed(0))
    weight[3] = 0.25  # a group of one value
    weight[4] = 0
    made = Affine(bits, 32).nearest(weight)
    codes = torch.from_numpy(made.codes).double().view(9, -1, 32)
    scales, offsets = (
        torch.from_numpy(one).double()[..., None] for one in (made.scales, made.offsets)
    )
    error = (codes * scales + offsets - weight.double().view(9, -1, 32)).square().sum(-1)
    span = weight.view(9, -1, 32).amax(-1) - weight.view(9, -1, 32).amin(-1)
    plain = 32 * (span.double() / (2**bits - 1)).square() / 12  # of a uniform error
    assert (error <= 1.3 * plain + 1e-12).all()
    assert (error[4] == 0).all()
    assert (error[3] == 0).all()


def test_important_columns_are_kept_closer() -> None:
    weight = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
    importance = torch.ones(32)
    importance[5] = 100
    plain, weighed = (Affine(3, 32).nearest(weight, one) for one in (None, importance))

    def error(made: Any) -> torch.Tensor:
        values = made.codes[:, 5] * made.scales[:, 0] + made.offsets[:, 0]
        return (torch.from_numpy(values) - weight[:, 5]).square().mean()

    assert error(weighed) < 0.3 * error(plain)


def test_width_that_the_group_does_not_divide_is_refused_by_name(tmp_path: Path) -> None:
    base = make_family("llama", tmp_path / "base")
    with pytest.raises(QuantmakeError) as caught:
        run_stage(
            MlxRtn(format="mlx", bits=4, method="rtn", group_size=128),
            {"base": base},
            tmp_path / "out",
        )
    said = str(caught.value)
    assert said.startswith(
        "group_size 128 does not divide the rows of 26 weights: model.embed_tokens.weight (64 wide)"
    )
    assert said.endswith("Set group_size to 32 or 64, which divides all of this model.")


def test_family_that_is_not_known_is_refused_before_any_work() -> None:
    outline = Outline.of({"model.layers.0.mlp.up_proj.weight": (8, 4)})
    for kind, is_known in (("gpt_neox", False), ("llama", True), ("", True)):
        about = replace(outline, model_type=kind)
        reason = MlxGptq(format="mlx", bits=4, method="gptq").refusal(
            {"base": Forecast(0, 0, about), "capture": None}
        )
        assert (reason == "") == is_known
        assert is_known or f"of the model_type {kind!r} it is not known" in reason


@pytest.mark.parametrize("family", ["gpt2", "gpt-neox", "gpt-oss", "deepseek-v3"])
def test_family_that_is_not_known_is_refused_by_name(family: str, tmp_path: Path) -> None:
    base = make_family(family, tmp_path / "base")
    kind = json.loads((base / "config.json").read_text())["model_type"]
    with pytest.raises(QuantmakeError) as caught:
        run_stage(MlxRtn(format="mlx", bits=4, method="rtn"), {"base": base}, tmp_path / "out")
    assert str(caught.value) == (
        f"config.json: of the model_type {kind!r} it is not known how mlx-lm names its tensors "
        f"(known: {', '.join(sorted(FAMILIES))}). Take the artefacts with `format: mlx` out of "
        "the recipe."
    )


def test_override_of_nothing_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    stage = MlxRtn(format="mlx", bits=4, method="rtn", overrides={"down_prj": 6})
    with pytest.raises(RecipeError) as caught:
        run_stage(stage, {"base": tiny_base}, tmp_path / "out")
    assert str(caught.value) == (
        "overrides: no module's name has 'down_prj' in it. Names are such as model.embed_tokens, "
        "model.layers.0.mlp.down_proj, model.layers.0.mlp.gate_proj."
    )


def test_weights_that_are_not_finite_are_named(tiny_base: Path, tmp_path: Path) -> None:
    base = shutil.copytree(tiny_base, tmp_path / "base")
    tensors = load_file(base / "model.safetensors")
    for name in ("model.norm.weight", f"{Q}.weight"):
        tensors[name].view(-1)[0] = torch.nan
    save_file(tensors, base / "model.safetensors", {"format": "pt"})
    with pytest.raises(QuantmakeError) as caught:
        run_stage(MlxRtn(format="mlx", bits=4, method="rtn"), {"base": base}, tmp_path / "out")
    assert str(caught.value) == (
        f"the base has NaN or infinity in {Q}.weight, model.norm.weight; a quantised model of it "
        "would answer nonsense. Mend the source model."
    )


def test_broken_folder_is_not_committed(
    built: dict[str, Path], tiny_base: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(built["4-rtn"], tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    del tensors[f"{Q}.biases"]
    tensors[f"{Q}.scales"][0, 0] = torch.inf
    tensors[f"{EMBEDDING}.weight"] = tensors[f"{EMBEDDING}.weight"][:, 1:].contiguous()
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(QuantmakeError) as caught:
        check.check_artifact(plan(tiny_base, MlxRtn(format="mlx", bits=4, method="rtn")), folder)
    assert str(caught.value) == (
        f"model is broken: {EMBEDDING}.weight is U32 [512, 31], not U32 [512, 32]; "
        f"{Q}.scales is not finite; {Q}.biases is missing"
    )


def test_experts_that_the_calibration_never_reached(tiny_capture: Path, tmp_path: Path) -> None:
    """The capture of another model has seen none of them."""
    base = make_family("qwen3-moe", tmp_path / "base")
    stage = MlxGptq(format="mlx", bits=4, method="gptq")
    with pytest.raises(QuantmakeError, match="the capture has not seen the inputs of"):
        run_stage(stage, {"base": base, "capture": tiny_capture}, tmp_path / "out")
