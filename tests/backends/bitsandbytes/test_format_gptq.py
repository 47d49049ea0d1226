"""`method: gptq`: the layout of rounding to nearest, with values that cost less."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from scripts.backends.bitsandbytes.format import Bitsandbytes4bit
from scripts.calibration.stored import HESSIAN
from scripts.errors import QuantmakeError
from scripts.evaluation.score import measure_size
from scripts.exec import run_stage

WEIGHTS = "model.safetensors"
Q = "model.layers.0.self_attn.q_proj.weight"


def bitsandbytes_4bit(**options: object) -> Bitsandbytes4bit:
    return Bitsandbytes4bit.model_validate({"format": "bitsandbytes", **options})


@pytest.fixture(scope="module")
def tiny_nearest(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("nearest") / "model-int4"
    run_stage(bitsandbytes_4bit(), {"base": tiny_base}, out)
    return out


def changed_capture(capture: Path, folder: Path, name: str, value: torch.Tensor | None) -> Path:
    """The capture with another Hessian of one linear, or as if it had not seen it."""
    shutil.copytree(capture, folder)
    with safe_open(capture / HESSIAN, "pt") as file:
        shared = json.loads(file.metadata()["shared"])
    tensors = load_file(capture / HESSIAN)
    if value is None:
        del shared[name]
    else:
        tensors[name] = value
    save_file(tensors, folder / HESSIAN, metadata={"shared": json.dumps(shared)})
    return folder


def divergence(base: Path, artefact: Path) -> float:
    """KLD from the base over the tokens of a sentence, both loaded by stock transformers."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    text = "The ferryman carries nine apples at dawn. Old Agnes hides letters before the rain."
    prompt = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
    found = []
    for path in (base, artefact):
        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        with torch.inference_mode():
            found.append(model(**prompt).logits.log_softmax(-1))
    want, got = found
    return float((want.exp() * (want - got)).sum(-1).mean())


def test_gptq_is_closer_in_the_same_layout(
    tiny_base: Path, tiny_nearest: Path, tiny_capture: Path, tmp_path: Path
) -> None:
    inputs, stage = {"base": tiny_base, "capture": tiny_capture}, bitsandbytes_4bit(method="gptq")
    run_stage(stage, inputs, tmp_path / "out")
    ours, plain = load_file(tmp_path / "out" / WEIGHTS), load_file(tiny_nearest / WEIGHTS)
    assert {name: tensor.dtype for name, tensor in ours.items()} == {
        name: tensor.dtype for name, tensor in plain.items()
    }
    for name in sorted(ours.keys() - {n for n in ours if "quant_state" in n}):
        assert ours[name].shape == plain[name].shape, name
    config = "config.json"
    assert (tmp_path / "out" / config).read_bytes() == (tiny_nearest / config).read_bytes()
    assert divergence(tiny_base, tmp_path / "out") < 0.8 * divergence(tiny_base, tiny_nearest)


def test_gptq_gives_the_same_bytes_on_any_number_of_cores(
    tiny_base: Path, tiny_capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, stage = {"base": tiny_base, "capture": tiny_capture}, bitsandbytes_4bit(method="gptq")
    for cores in (1, 3):
        monkeypatch.setattr("scripts.workers.available_cores", lambda count=cores: count)
        run_stage(stage, inputs, tmp_path / str(cores))
    assert (tmp_path / "1" / WEIGHTS).read_bytes() == (tmp_path / "3" / WEIGHTS).read_bytes()


@pytest.mark.parametrize("value", [0, torch.nan, torch.inf], ids=str)
def test_hessian_that_says_nothing_names_every_weight(
    value: float, tiny_base: Path, tiny_capture: Path, tmp_path: Path
) -> None:
    name = "model.layers.1.mlp.gate_proj"
    capture = changed_capture(tiny_capture, tmp_path / "c", name, torch.full((128, 128), value))
    (tmp_path / "out").mkdir()
    text = rf"inputs of {name}\.weight, model\.layers\.1\.mlp\.up_proj\.weight are all zero or not"
    with pytest.raises(QuantmakeError, match=text):
        bitsandbytes_4bit(method="gptq").run(
            {"base": tiny_base, "capture": capture}, tmp_path / "out"
        )
    assert not list((tmp_path / "out").iterdir())


def test_hessian_that_is_not_positive_definite(
    tiny_base: Path, tiny_capture: Path, tmp_path: Path
) -> None:
    name = "model.layers.2.mlp.down_proj"
    hessian = torch.eye(256)
    hessian[0, 0] = -100
    capture = changed_capture(tiny_capture, tmp_path / "c", name, hessian)
    (tmp_path / "out").mkdir()
    with pytest.raises(QuantmakeError, match=rf"Hessian of {name}\.weight is not positive def"):
        bitsandbytes_4bit(method="gptq").run(
            {"base": tiny_base, "capture": capture}, tmp_path / "out"
        )
    assert not list((tmp_path / "out").iterdir())


def test_weight_that_the_capture_has_not_seen(
    tiny_base: Path,
    tiny_nearest: Path,
    tiny_capture: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = "model.layers.0.self_attn.o_proj"
    inputs = {
        "base": tiny_base,
        "capture": changed_capture(tiny_capture, tmp_path / "c", name, None),
    }
    (tmp_path / "out").mkdir()
    with pytest.raises(QuantmakeError, match=rf"not seen the inputs of 1 weights: {name}\.weight"):
        bitsandbytes_4bit(method="gptq").run(inputs, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
    run_stage(bitsandbytes_4bit(method="gptq", on_unsupported="rtn"), inputs, tmp_path / "out")
    assert f"{name}.weight is rounded to nearest" in capsys.readouterr().out
    ours, plain = load_file(tmp_path / "out" / WEIGHTS), load_file(tiny_nearest / WEIGHTS)
    assert torch.equal(ours[f"{name}.weight"], plain[f"{name}.weight"])
    assert not torch.equal(ours[Q], plain[Q])
    _, notes = measure_size("bitsandbytes", tmp_path / "out", tiny_base)
    assert notes == (
        "the method does not support 1 tensor; each is rounded to nearest: the capture has not "
        f"seen its inputs. They are: {name}.weight.",
    )


def test_gptq_needs_the_capture() -> None:
    plain, gptq = bitsandbytes_4bit(), bitsandbytes_4bit(method="gptq")
    assert (plain.needed(), gptq.needed()) == (("base",), ("base", "capture"))


def test_option_that_says_nothing_is_refused() -> None:
    assert bitsandbytes_4bit(method="gptq", rounds=5).rounds == 5
    with pytest.raises(ValidationError, match="`rounds` says nothing without `method: gptq`"):
        bitsandbytes_4bit(rounds=5)
