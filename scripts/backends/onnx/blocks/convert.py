"""Turning every MatMul of a graph into MatMulNBits by a method."""

import json

import onnx_ir as ir

from scripts.backends.conversion import Conversion, Kernel, OnUnsupported
from scripts.backends.onnx.blocks.nodes import place
from scripts.backends.onnx.graph import Linear, head, linears
from scripts.backends.unsupported import KEY, told
from scripts.calibration.stored import Captured
from scripts.methods.integer_grid import GridOptions


def convert(
    model: ir.Model,
    kernel: Kernel[Linear],
    captured: Captured | None,
    *,
    grid: GridOptions,
    head_bits: int,
    on_unsupported: OnUnsupported,
    accuracy_level: int,
) -> None:
    """Turn every MatMul into MatMulNBits by a method, and the embedding into blocks.

    Raises QuantmakeError that names every MatMul that is not supported, where `on_unsupported` is
    `error`.
    """
    last = head(model)
    conversion = Conversion(grid, head_bits, on_unsupported, last.name if last else "")
    chosen, unsupported = conversion.sort_out(linears(model), captured)
    if unsupported:
        model.metadata_props[KEY] = json.dumps(dict(told(unsupported)), sort_keys=True)
    place(
        model,
        conversion.blocks(chosen, unsupported, kernel),
        accuracy_level=accuracy_level,
        embedding_blocks=lambda weight: conversion.nearest(weight, head_bits),
    )
