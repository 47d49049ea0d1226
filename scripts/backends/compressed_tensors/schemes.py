"""The schemes by llm-compressor's names: their layouts, and what config.json says of them."""

from collections.abc import Mapping
from typing import Protocol

import compressed_tensors
from compressed_tensors.quantization import (
    QuantizationConfig,
    QuantizationScheme,
    preset_name_to_scheme,
)

from scripts.backends.compressed_tensors.layouts import Float4, Float8, Int8, Layout, Packed

_BITS = {"W4A16": 4, "W8A16": 8}


class Settings(Protocol):
    """What says how weights are stored; `group` is 0 where a scheme has a size of its own."""

    @property
    def scheme(self) -> str: ...
    @property
    def group(self) -> int: ...


def layout_of(settings: Settings, factors: Mapping[str, float] | None = None) -> Layout:
    """How a scheme stores weights; `factors` are NVFP4A16's, by their names."""
    if settings.scheme in _BITS:
        return Packed(_BITS[settings.scheme], settings.group)
    others: dict[str, Layout] = {"W8A8": Int8(), "FP8_DYNAMIC": Float8()}
    return others.get(settings.scheme) or Float4(factors or {})


def quantization_config(settings: Settings, ignored: tuple[str, ...]) -> dict[str, object]:
    """What llm-compressor writes, less what is measured."""
    scheme = scheme_of(settings)
    config = QuantizationConfig(
        config_groups={"group_0": scheme},
        format=layout_of(settings).format,
        quantization_status="compressed",
        ignore=list(ignored),
    )
    return {
        "version": compressed_tensors.__version__,
        "sparsity_config": {},
        "transform_config": {},
        **config.model_dump(mode="json"),
    }


def scheme_of(settings: Settings) -> QuantizationScheme:
    """compressed-tensors' own scheme of that name, with the group and the format."""
    scheme = preset_name_to_scheme(settings.scheme, ["Linear"])
    if settings.group:
        scheme.weights.group_size = settings.group
    scheme.format = layout_of(settings).format
    return scheme
