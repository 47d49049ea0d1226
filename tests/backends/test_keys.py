"""The kernel of a method is in the keys of its own artefacts alone, and so is what is optional."""

from pathlib import Path

import pytest

from scripts.backends.format import Format, all_formats
from scripts.engine.build.action import Action
from scripts.engine.build.sources import source_digests

GRID = "integer_grid"
GPTQ = {
    *("gptq", "block_grid", "kernels"),
    *(f"kernels.{name}" for name in ("compensate", "descend", "search", "storage")),
}
# What each ONNX method takes from scripts/methods; heads are always rounded to nearest.
ONNX = {
    "rtn": set(),
    "gptq": {*GPTQ, "integer_gptq", GRID, "rtn"},
    "awq": {"awq", GRID, "rtn"},
    "hqq": {"hqq", GRID, "rtn"},
    "dynamic": {"smoothquant", *GPTQ},
    "static": {"smoothquant", *GPTQ},
}


def made(**options: object) -> Format:
    """The format that these options choose."""
    kinds = [kind for kind in all_formats() if chooses(kind, options)]
    return kinds[0].model_validate(options)


def chooses(kind: type[Format], options: dict[str, object]) -> bool:
    """Whether the options select a class."""
    return all(options.get(key) in values for key, values in kind.selector().items())


def reached(stage: Format) -> list[str]:
    """The modules of the project in the key."""
    return list(source_digests(type(stage).__module__, *stage.reaches()))


def kernels(stage: Format) -> set[str]:
    """The modules of scripts/methods among them."""
    start = "scripts.methods."
    return {name.removeprefix(start) for name in reached(stage) if name.startswith(start)}


@pytest.mark.parametrize(
    "selection",
    [s for kind in all_formats() for s in kind.selections() if s["format"] == "onnx"],
    ids=str,
)
def test_onnx_reaches_the_kernel_of_its_method(selection: dict[str, object]) -> None:
    chosen = {"allocation"} if selection["bits"] == "auto" else set()
    assert kernels(made(**selection)) == ONNX[str(selection["method"])] | chosen


@pytest.mark.parametrize("method", ["rtn", "gptq", "awq"])
def test_openvino_reaches_the_kernel_of_its_method(method: str) -> None:
    assert kernels(made(format="openvino", bits=4, method=method)) == (ONNX[method] | {GRID, "rtn"})


@pytest.mark.parametrize(
    ("method", "expected"), [("rtn", set()), ("gptq", GPTQ), ("awq", {"awq", GRID})]
)
def test_mlx_reaches_the_kernel_of_its_method(method: str, expected: set[str]) -> None:
    stage = made(format="mlx", bits=4, method=method)
    grids = {"affine", "block_grid", "kernels", "kernels.storage"}
    assert kernels(stage) == grids | expected
    assert stage.uses() == ()  # the bytes do not depend on MLX


@pytest.mark.parametrize(("method", "expected"), [("rtn", set()), ("gptq", GPTQ)])
def test_bitsandbytes_reaches_the_kernel_of_its_method(method: str, expected: set[str]) -> None:
    stage = made(format="bitsandbytes", method=method)
    assert kernels(stage) == expected
    assert ("scripts.calibration.stored" in reached(stage)) == (method == "gptq")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, set()),
        ({"method": "gptq"}, GPTQ),
        ({"method": "awq"}, {"awq"}),
        ({"scheme": "W8A8", "smooth": True}, {"smoothquant"}),
    ],
    ids=["rtn", "gptq", "awq", "smooth"],
)
def test_compressed_tensors_reach_what_they_ask_for(
    options: dict[str, object], expected: set[str]
) -> None:
    stage = made(format="compressed-tensors", **options)
    layouts = {GRID, "float_grid", "block_grid", "kernels", "kernels.storage"}
    assert kernels(stage) == {*layouts, *expected}


def test_tuning_is_reached_where_it_is_asked_for() -> None:
    options = {"format": "onnx", "bits": 4, "method": "rtn"}
    plain, tuned = made(**options), made(**options, tune={})
    for stage, expected in ((plain, False), (tuned, True)):
        assert any(".onnx.tuning" in name for name in reached(stage)) == expected
        assert ("torch" in Action(stage, {}, Path("out")).tools()["packages"]) == expected


def test_mixed_precision_is_reached_where_it_is_asked_for() -> None:
    options = {"format": "onnx", "bits": 8, "method": "dynamic"}
    chosen = made(**options, weight_only="auto", max_kld=0.01)
    for stage, expected in ((made(**options), False), (chosen, True)):
        assert ("scripts.backends.onnx.integer.selection" in reached(stage)) == expected


@pytest.mark.parametrize("method", ["dynamic", "static"])
def test_integer_weights_rounded_to_nearest_reach_no_gptq(method: str) -> None:
    stage = made(format="onnx", bits=8, method=method, rounding="rtn")
    assert kernels(stage) == {"smoothquant"}
