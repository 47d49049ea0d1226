"""What the sizes of a model rule out is said from its headers alone, with a number to type."""

import re
from math import prod

import pytest

from scripts.backends.gguf.format import GgufFile
from scripts.benchmarks.seeded_model import SIZES
from scripts.forecast import Forecast, Inputs, Outline

SHAPES = {name: tuple(shape) for name, shape in SIZES["1B"].tensors().items()}


def of(shapes: dict[str, tuple[int, ...]]) -> Inputs:
    return {"f16": Forecast(0, 0, Outline.of(shapes)), "capture": None}


def layers(*widths: int) -> Inputs:
    return of({f"model.layers.0.{n}.weight": (width, width) for n, width in enumerate(widths)})


def refusal(inputs: Inputs, **options: object) -> str:
    return GgufFile.model_validate({"format": "gguf", **options}).refusal(inputs)


@pytest.mark.parametrize("type_", ["q4_0", "q8_0", "q4_k_m", "iq3_s"])
def test_widths_that_no_block_divides(type_: str) -> None:
    assert re.fullmatch(
        rf"type {type_}: no width of the layers' matrices \(100, 104\) divides by its block of "
        r"(32|256) values, so that all would stay in another type\. Of such a model GGUF has f16 "
        r"and bf16 alone\.",
        refusal(layers(104, 100), type=type_),
    )
    assert refusal(layers(104, 100), type="f16") == ""
    assert refusal(layers(104, 256), type=type_) == ""


def test_widths_that_smaller_blocks_divide() -> None:
    said = refusal(layers(96), type="q4_k_m")
    assert said.endswith(
        "Choose a type with blocks of 32, such as q8_0, q5_0, q4_0 or iq4_nl, or f16."
    )
    assert refusal(layers(96), type="q4_0") == ""


def test_auto_of_a_size_that_can_not_be() -> None:
    values = sum(map(prod, SHAPES.values()))
    said = refusal(of(SHAPES), type="auto", max_bytes=300_000_000)
    found = re.fullmatch(
        r"type auto: in the smallest types that there are \(4\.5 bits, q4_0 and iq4_nl\) the "
        r"weights alone take ([\d,]+) bytes \(([\d.]+) MB\), and `max_bytes: 300000000` is less "
        r"\(300\.0 MB\)\. Write `max_bytes: (\d+)` \(([\d.]+) MB\) or more\.",
        said,
    )
    assert found
    least, advised = int(found[1].replace(",", "")), int(found[3])
    assert least == pytest.approx(values * 4.5 / 8, rel=0.001)
    assert f"{advised / 1e6:.1f}" == found[4]
    assert refusal(of(SHAPES), type="auto", max_bytes=advised) == ""
    assert refusal(of(SHAPES), type="auto", max_bytes=least) == ""


def test_auto_like_a_preset() -> None:
    assert refusal(of(SHAPES), type="auto", like="q4_0") == ""
    assert "`like: q2_k` makes a smaller file. Write `max_bytes: " in refusal(
        of(SHAPES), type="auto", like="q2_k"
    )


def test_nothing_is_said_of_a_model_that_is_not_there_yet() -> None:
    assert refusal({"f16": None}, type="auto", max_bytes=1) == ""
