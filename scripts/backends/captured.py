"""What the calibration's capture says of the MatMuls of the float graph."""

from typing import Protocol

import torch

from scripts.calibration.stored import Captured


class Named(Protocol):
    """A MatMul by its node's name, such as /model/layers.0/mlp/down_proj/MatMul."""

    @property
    def name(self) -> str: ...


def captured_name(linear: Named, captured: Captured) -> str | None:
    """The Hugging Face name of a MatMul's linear; of merged ones (qkv_proj) that of the first."""
    parts = linear.name.removesuffix("/MatMul").removesuffix("/Gemm").strip("/").replace("/", ".")
    named = parts.replace(".attn.", ".self_attn.").replace("qkv_proj", "q_proj")
    # The builder has one name for what families call by several.
    outputs = [named.replace("o_proj", other) for other in ("dense", "out_proj")]
    return next((name for name in (parts, named, *outputs) if name in captured.names), None)


def hessian_of(linear: Named, captured: Captured) -> torch.Tensor:
    """XᵀX / n of a MatMul's inputs, float32 [K, K]."""
    name = captured_name(linear, captured)
    assert name is not None
    return torch.from_numpy(captured.hessian(name))
