"""Turning every MatMul of a model into one with a compressed weight by a method."""

import json

import openvino as ov

from scripts.backends.conversion import Conversion, Kernel, OnUnsupported
from scripts.backends.openvino.graph import Linear, head, linears
from scripts.backends.openvino.weights import place
from scripts.backends.unsupported import KEY, told
from scripts.calibration.stored import Captured
from scripts.methods.integer_grid import GridOptions


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

    Raises QuantmakeError that names every MatMul that is not supported, where `on_unsupported` is
    `error`.
    """
    conversion = Conversion(grid, head_bits, on_unsupported, head(model))
    chosen, unsupported = conversion.sort_out(linears(model), captured)
    if unsupported:
        model.set_rt_info(json.dumps(dict(told(unsupported)), sort_keys=True), [KEY])
    place(
        model,
        conversion.blocks(chosen, unsupported, kernel),
        lambda weight: conversion.nearest(weight, head_bits),
    )
