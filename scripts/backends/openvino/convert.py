"""Turning every MatMul of a model into one with a compressed weight by a method."""

import json

import openvino as ov

from scripts.backends.conversion import Conversion, Kernel, OnUnsupported
from scripts.backends.openvino.graph import Linear, constant_behind, head, linears
from scripts.backends.openvino.weights import place
from scripts.backends.unsupported import KEY, told
from scripts.calibration.stored import Captured
from scripts.errors import QuantmakeError
from scripts.methods.integer_grid import GridOptions


def refuse_stacked(model: ov.Model) -> None:
    """Raise QuantmakeError where MatMuls multiply more weights than a matrix, as experts are."""
    products = [one for one in model.get_ordered_ops() if one.get_type_name() == "MatMul"]
    weights = [constant_behind(one, 1) for one in products]
    stacked = sum(one is not None and len(one.shape) > 2 for one in weights)
    if stacked:
        raise QuantmakeError(
            f"{stacked} MatMuls multiply stacked weights (experts), which no format of OpenVINO "
            "compresses here; most of the model would stay in float. Take the artefacts with "
            "format openvino out of the recipe: GGUF quantises experts."
        )


def convert(
    model: ov.Model,
    kernel: Kernel[Linear],
    captured: Captured | None,
    *,
    grid: GridOptions,
    head_bits: int,
    on_unsupported: OnUnsupported,
) -> None:
    """Compress the weight of every MatMul by a method, and the embedding's.

    Raises QuantmakeError for stacked weights, and one that names every MatMul that is not
    supported, where `on_unsupported` is `error`.
    """
    refuse_stacked(model)
    conversion = Conversion(grid, head_bits, on_unsupported, head(model))
    chosen, unsupported = conversion.sort_out(linears(model), captured)
    if unsupported:
        model.set_rt_info(json.dumps(dict(told(unsupported)), sort_keys=True), [KEY])
    place(
        model,
        conversion.blocks(chosen, unsupported, kernel),
        lambda weight: conversion.nearest(weight, head_bits),
    )
