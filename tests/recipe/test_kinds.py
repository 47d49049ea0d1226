"""What a recipe of an encoder may say, and what is refused at once, with what there is instead."""

from pathlib import Path

import pytest

from scripts.errors import RecipeError
from scripts.recipe.load import load_recipe

GOOD = """\
model:
  source: path:models/tiny
  sha256: {digest}
  kind: encoder
calibration:
  text: path:text.txt
  sha256: {digest}
  lines: [150, 299]
evaluation:
  text: path:text.txt
  sha256: {digest}
  lines: [0, 150]
artifacts:
  model-int8: {{format: onnx, bits: 8, method: dynamic}}
  model.gguf: {{format: gguf, type: q8_0}}
""".format(digest="a" * 64)
_THERE_ARE = (
    "there are {format: gguf}, {format: onnx, bits: 8, method: rtn}, "
    "{format: onnx, bits: 8, method: dynamic}, {format: onnx, bits: 8, method: static}"
)


def problems(tmp_path: Path, text: str) -> str:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "r.yaml", is_default=True)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_good_recipe_loads(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(GOOD)
    recipe = load_recipe(tmp_path / "r.yaml", is_default=True)
    assert recipe.is_encoder
    assert [row.name for row in recipe.rows()] == [
        *("base", "graph", "f16.gguf"),
        *("model-int8", "model.gguf"),
    ]
    assert "sensitivity" not in recipe.report_inputs()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{format: onnx, bits: 4, method: rtn}", "{format: onnx, bits: 4, method: rtn}"),
        ("{format: onnx, bits: 8, method: gptq}", "{format: onnx, bits: 8, method: gptq}"),
        ("{format: onnx-web, bits: 8, method: rtn}", "{format: onnx-web, bits: 8, method: rtn}"),
        ("{format: bitsandbytes}", "{format: bitsandbytes}"),
        ("{format: compressed-tensors, scheme: W8A8}", "{format: compressed-tensors}"),
        ("{format: openvino, bits: 8, method: rtn}", "{format: openvino, bits: 8, method: rtn}"),
        ("{format: mlx, bits: 4, method: rtn}", "{format: mlx, bits: 4, method: rtn}"),
    ],
)
def test_formats_of_decoders_are_refused_by_name(tmp_path: Path, line: str, said: str) -> None:
    text = problems(tmp_path, GOOD + f"  other: {line}\n")
    assert f"{said} can't be made of an encoder; {_THERE_ARE}" in text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("type: auto, like: q4_0", "type: auto can't be had for an encoder"),
        ("type: q4_0, method: gptq", "method: gptq can't be had for an encoder"),
        ("type: q4_0, imatrix: true", "imatrix: true can't be had for an encoder"),
    ],
)
def test_measured_gguf_is_refused(tmp_path: Path, options: str, said: str) -> None:
    text = problems(tmp_path, GOOD + f"  other.gguf: {{format: gguf, {options}}}\n")
    assert said in text
    assert "write one of llama.cpp's plain types, such as {format: gguf, type: q8_0}" in text


def test_mistakes_are_told_as_of_a_decoder(tmp_path: Path) -> None:
    text = problems(tmp_path, GOOD + "  other: {format: onnx, bits: 8, method: statik}\n")
    assert "did you mean 'static'?" in text


def test_keys_that_say_nothing_are_refused(tmp_path: Path) -> None:
    text = GOOD.replace("  kind: encoder\n", "  kind: encoder\n  off_grid: 0\n")
    text = text.replace("lines: [0, 150]", "lines: [0, 150]\n  windows: 8")
    said = problems(tmp_path, text + "device: cuda\n")
    for key in ("model.off_grid", "evaluation.windows"):
        assert f"{key}: says nothing of an encoder (`kind: encoder`); leave it out" in said
    assert "device: found 'cuda'; encoders are measured on the cpu" in said
    decoder = GOOD.replace("  kind: encoder\n", "").replace("299]", "299]\n  sentences: 9")
    assert "calibration.sentences: says nothing of a decoder" in problems(tmp_path, decoder)


def test_limits_of_the_other_kind_are_refused(tmp_path: Path) -> None:
    said = problems(tmp_path, GOOD + "budgets:\n  model-int8: {max_kld: 0.01, min_cosine: 0.9}\n")
    assert (
        "budgets.model-int8.max_kld: is not measured of an encoder; there are min_cosine, "
        "min_cosine_p01, min_spearman, min_sentences_speedup, and limits of size"
    ) in said
    assert "budgets.model-int8.min_cosine" not in said
